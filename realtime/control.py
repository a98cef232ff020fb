"""Ending sessions, or checking them anew, from any Python code and on every instance."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from realtime.core.close_codes import CloseCode
from realtime.core.errors import NotRunning
from realtime.runtime import Runtime, find_runtime
from realtime.sessions import Target

logger = logging.getLogger("realtime.control")

# More users than this are told apart no longer: everybody is looked at.
MAX_USERS = 1000


def disconnect(
    *,
    session: str | None = None,
    user: Any = None,
    sid: str | None = None,
    code: CloseCode = CloseCode.DISCONNECTED,
) -> None:
    """End one session, or all of a user (an instance or its key), or all of a sign-in.

    Returns when the word is out: sessions end within moments, on other instances too. Raises
    Unavailable where other instances cannot be reached.
    """
    target = _build_target(session=session, user=user, sid=sid)
    _run(lambda runtime: runtime.disconnect(target, code))


async def adisconnect(
    *,
    session: str | None = None,
    user: Any = None,
    sid: str | None = None,
    code: CloseCode = CloseCode.DISCONNECTED,
) -> None:
    """The same as `disconnect()`, for async code."""
    await asyncio.to_thread(disconnect, session=session, user=user, sid=sid, code=code)


def recheck(*, users: Iterable[Any] | None = None) -> None:
    """Look again whether these users (instances or keys; None: everybody) may be where they are.

    Call it after a change of what a policy depends on: a session whose user is gone ends with
    4505, and one that may not be where it is any more with 4503. Groups and permissions of
    Django's users need no call. Raises Unavailable where other instances cannot be reached.
    """
    keys = None if users is None else {str(getattr(user, "pk", user)) for user in users}
    if keys is not None and len(keys) > MAX_USERS:
        keys = None
    _run(lambda runtime: runtime.recheck(keys))


async def arecheck(*, users: Iterable[Any] | None = None) -> None:
    """The same as `recheck()`, for async code."""
    await asyncio.to_thread(recheck, users=users)


def _run(build: Callable[[Runtime], Coroutine[Any, Any, None]]) -> None:
    try:
        runtime = find_runtime()
    except NotRunning:
        logger.info(
            "no server is reached from this process, which has no REDIS_URL: one that runs "
            "finds out by itself, within RECHECK_SECONDS"
        )
        return
    if runtime.is_current():
        runtime.run_soon(build(runtime))
    else:
        asyncio.run_coroutine_threadsafe(build(runtime), runtime.loop).result()


def _build_target(*, session: str | None, user: Any, sid: str | None) -> Target:
    if (session is not None) + (user is not None) + (sid is not None) != 1:
        raise TypeError("disconnect() takes one of session, user and sid")
    key = getattr(user, "pk", user)
    return Target(
        session=None if session is None else str(session),
        user=None if key is None else str(key),
        sid=None if sid is None else str(sid),
    )
