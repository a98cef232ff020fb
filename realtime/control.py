"""Ending sessions from any Python code, on every instance."""

import asyncio
import logging
from typing import Any

from realtime.core.close_codes import CloseCode
from realtime.core.errors import NotRunning
from realtime.runtime import find_runtime
from realtime.sessions import Target

logger = logging.getLogger("realtime.control")


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
    try:
        runtime = find_runtime()
    except NotRunning:
        logger.info("no server can be reached from this process; no session was ended")
        return
    operation = runtime.disconnect(target, code)
    if runtime.is_current():
        runtime.run_soon(operation)
    else:
        asyncio.run_coroutine_threadsafe(operation, runtime.loop).result()


async def adisconnect(
    *,
    session: str | None = None,
    user: Any = None,
    sid: str | None = None,
    code: CloseCode = CloseCode.DISCONNECTED,
) -> None:
    """The same as `disconnect()`, for async code."""
    await asyncio.to_thread(disconnect, session=session, user=user, sid=sid, code=code)


def _build_target(*, session: str | None, user: Any, sid: str | None) -> Target:
    if (session is not None) + (user is not None) + (sid is not None) != 1:
        raise TypeError("disconnect() takes one of session, user and sid")
    key = getattr(user, "pk", user)
    return Target(
        session=None if session is None else str(session),
        user=None if key is None else str(key),
        sid=None if sid is None else str(sid),
    )
