"""Publishing from any Python code: a view, a signal, a shell, a task in another process."""

import asyncio
from typing import Any

from realtime.core.positions import Position
from realtime.pipeline import Receipt
from realtime.runtime import find_runtime


def publish(
    topic: str, data: Any, *, id: str | None = None, user: Any = None, format: str | None = None
) -> Position | None:
    """Publish and wait until it is in the history; returns where it stands.

    `data` is a JSON value for a broadcast topic; a number, a sequence of numbers, a 1-D array or
    `{"value"}` / `{"values"}` for a stats topic; a numpy array, or bytes with a `format`, for a
    binary topic. The same `id` by the same `user` within five minutes is published once. None
    is returned where the namespace keeps no history.

    Raises a `realtime.errors.CodedError` where the data is refused or not confirmed
    (`Unavailable`: repeat with the same `id`), and NotRunning where nobody could hear it.
    """
    return publish_for_receipt(topic, data, id=id, user=user, format=format).position


async def apublish(
    topic: str, data: Any, *, id: str | None = None, user: Any = None, format: str | None = None
) -> Position | None:
    """The same as `publish()`, for async code."""
    runtime = find_runtime()
    operation = runtime.publish(topic, data, id=id, user=user, format=format)
    if runtime.loop is asyncio.get_running_loop():
        return (await operation).position
    future = asyncio.run_coroutine_threadsafe(operation, runtime.loop)
    return (await asyncio.wrap_future(future)).position


def publish_for_receipt(
    topic: str, data: Any, *, id: str | None = None, user: Any = None, format: str | None = None
) -> Receipt:
    """`publish()`, with whether the `id` was a duplicate."""
    runtime = find_runtime()
    if runtime.is_current():
        raise RuntimeError("publish() would block the event loop here; use `await apublish(…)`")
    operation = runtime.publish(topic, data, id=id, user=user, format=format)
    return asyncio.run_coroutine_threadsafe(operation, runtime.loop).result()
