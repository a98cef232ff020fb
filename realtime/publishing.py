"""Publishing from any Python code: a view, a signal, a shell, a task in another process."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async

from realtime.announcing import defer, is_excused, report
from realtime.core.errors import NotRunning
from realtime.core.positions import Position
from realtime.core.topics import parse_topic
from realtime.intake import check_anything, find_namespace
from realtime.pipeline import Receipt
from realtime.runtime import blocks_server, find_runtime

logger = logging.getLogger("realtime.publishing")

NOT_PUBLISHED = "not published"


def publish(
    topic: str,
    data: Any,
    *,
    id: str | None = None,
    user: Any = None,
    format: str | None = None,
    on_commit: bool = False,
    using: str | None = None,
) -> Position | None:
    """Publish and wait until it is in the history; returns where it stands.

    `data` is a JSON value for a broadcast topic; a number, a sequence of numbers, a 1-D array or
    `{"value"}` / `{"values"}` for a stats topic; a numpy array, or bytes with a `format`, for a
    binary topic. The same `id` by the same `user` within five minutes is published once. None
    is returned where the namespace keeps no history.

    With `on_commit` it is published once the transaction (of the database `using`) commits, and
    never if that is rolled back; then None is returned, and `data` must not change until then.
    Where there is no transaction it is published at once. Topic, format and data are checked at
    the call, except for what a processor says. What goes wrong later is logged and not raised,
    whether or not there is a transaction: the change is saved, so the caller must not fail as if
    it were not, nor keep other callbacks from running.

    Raises a `realtime.errors.CodedError` where the data is refused or not confirmed
    (`Unavailable`: repeat with the same `id`), and NotRunning where nobody could hear it (but see
    `OUTSIDE_SERVER`).
    """
    if blocks_server():
        raise RuntimeError("publish() would block the event loop here; use `await apublish(…)`")
    user = _load(user)
    send = partial(publish_for_receipt, topic, data, id=id, user=user, format=format)
    if on_commit:
        _check(topic, data, user, format)
        return _publish_after_commit(topic, send, using)
    try:
        return send().position
    except NotRunning as error:
        if not is_excused(error, logger, NOT_PUBLISHED, topic=topic):
            raise
        return None


async def apublish(
    topic: str,
    data: Any,
    *,
    id: str | None = None,
    user: Any = None,
    format: str | None = None,
    on_commit: bool = False,
    using: str | None = None,
) -> Position | None:
    """The same as `publish()`, for async code."""
    user = _load(user)
    if on_commit:
        _check(topic, data, user, format)
        send = partial(publish_for_receipt, topic, data, id=id, user=user, format=format)
        attempt = partial(_attempt, topic, send)
        # A transaction around this code is in the thread where it uses the ORM.
        if await sync_to_async(defer)(attempt, using):
            return None
    try:
        return await _send(topic, data, id=id, user=user, format=format)
    except NotRunning as error:
        if on_commit:
            report(error, logger, NOT_PUBLISHED, topic=topic)
        elif not is_excused(error, logger, NOT_PUBLISHED, topic=topic):
            raise
    except Exception as error:
        if not on_commit:
            raise
        report(error, logger, NOT_PUBLISHED, topic=topic)
    return None


def publish_for_receipt(
    topic: str,
    data: Any,
    *,
    id: str | None = None,
    user: Any = None,
    format: str | None = None,
    address: str | None = None,
) -> Receipt:
    """`publish()` at once, for a client at that address, with whether the `id` was a duplicate."""
    runtime = find_runtime()
    if runtime.is_current():
        raise RuntimeError("publish() would block the event loop here; use `await apublish(…)`")
    operation = runtime.publish(
        topic, data, id=id, user=_load(user), format=format, address=address
    )
    return asyncio.run_coroutine_threadsafe(operation, runtime.loop).result()


async def _send(topic: str, data: Any, **options: Any) -> Position | None:
    runtime = find_runtime()
    operation = runtime.publish(topic, data, **options)
    if runtime.is_current():
        return (await operation).position
    future = asyncio.run_coroutine_threadsafe(operation, runtime.loop)
    return (await asyncio.wrap_future(future)).position


def _check(topic: str, data: Any, user: Any, format: str | None) -> None:
    parsed = parse_topic(topic)
    check_anything(parsed, find_namespace(parsed), data, user, format=format)


def _publish_after_commit(
    topic: str, send: Callable[[], Receipt], using: str | None
) -> Position | None:
    if defer(partial(_attempt, topic, send), using):
        return None
    return _attempt(topic, send)


def _attempt(topic: str, send: Callable[[], Receipt]) -> Position | None:
    """Publish what belongs to a change that is saved: no error gets out."""
    try:
        return send().position
    except Exception as error:  # noqa: BLE001 (it is logged, as the commit's own hooks do)
        report(error, logger, NOT_PUBLISHED, topic=topic)
        return None


def _load(user: Any) -> Any:
    """A user whose attributes can be read in the loop; an anonymous one is nobody.

    `request.user` is lazy: its first use reads the database, which the loop must not.
    """
    return None if user is None or user.pk is None else user
