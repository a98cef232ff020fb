"""Publishing from any Python code: a view, a signal, a shell, a task in another process."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction

from realtime.core.errors import RealtimeError
from realtime.core.positions import Position
from realtime.core.topics import parse_topic
from realtime.intake import find_namespace
from realtime.pipeline import Receipt
from realtime.runtime import find_runtime

logger = logging.getLogger("realtime.publishing")


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

    With `on_commit`, inside a transaction (of the database `using`), it is published once that
    commits and never if it is rolled back; None is returned, and `data` must not change until
    then. An unknown topic is an error at once. What goes wrong after the commit is logged and
    not raised: the change is in the database already, so the request must not fail as if it were
    not, nor keep other callbacks from running. Outside a transaction `on_commit` does nothing.

    Raises a `realtime.errors.CodedError` where the data is refused or not confirmed
    (`Unavailable`: repeat with the same `id`), and NotRunning where nobody could hear it.
    """

    send = partial(publish_for_receipt, topic, data, id=id, user=_load(user), format=format)
    if on_commit and _defer(topic, send, using):
        return None
    return send().position


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
        send = partial(publish_for_receipt, topic, data, id=id, user=user, format=format)
        # A transaction around this code is in the thread where it uses the ORM.
        if await sync_to_async(_defer)(topic, send, using):
            return None
    runtime = find_runtime()
    operation = runtime.publish(topic, data, id=id, user=user, format=format)
    if runtime.loop is asyncio.get_running_loop():
        return (await operation).position
    future = asyncio.run_coroutine_threadsafe(operation, runtime.loop)
    return (await asyncio.wrap_future(future)).position


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


def _defer(topic: str, send: Callable[[], Receipt], using: str | None) -> bool:
    """Leave it to the commit of this thread's transaction; False where there is none."""
    connection = transaction.get_connection(using)
    # Not `transaction.on_commit()` by itself: outside a transaction that opens a connection to
    # look, which a thread of the caller's would have to close. A connection that is open and not
    # in autocommit is in a transaction by hand, which `on_commit()` refuses.
    if not connection.in_atomic_block and (connection.connection is None or connection.autocommit):
        return False
    find_namespace(parse_topic(topic))

    def publish_after_commit() -> None:
        try:
            send()
        except RealtimeError as error:
            logger.error("not published after the commit: %s", error, extra={"topic": topic})

    transaction.on_commit(publish_after_commit, using=using, robust=True)
    return True


def _load(user: Any) -> Any:
    """A user whose attributes can be read in the loop; an anonymous one is nobody.

    `request.user` is lazy: its first use reads the database, which the loop must not.
    """
    return None if user is None or user.pk is None else user
