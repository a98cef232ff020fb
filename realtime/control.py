"""Ending sessions, or checking them anew, from any Python code and on every instance."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async

from realtime.announcing import defer, is_excused, report
from realtime.audit import PARTLY, Act, Actor, find_actor
from realtime.core.close_codes import CloseCode
from realtime.core.errors import NotRunning, Unavailable
from realtime.runtime import Runtime, find_runtime
from realtime.sessions import Target

logger = logging.getLogger("realtime.control")

# More users than this are told apart no longer: everybody is looked at.
MAX_USERS = 1000

NOT_ENDED = "sessions were not told to end"
NOT_CHECKED = "sessions were not told to be checked"


def disconnect(
    *,
    session: str | None = None,
    user: Any = None,
    sid: str | None = None,
    code: CloseCode = CloseCode.DISCONNECTED,
    by: Any = None,
    reason: str = "",
    on_commit: bool = False,
    using: str | None = None,
) -> None:
    """End one session, or all of a user (an instance or its key), or all of a sign-in.

    `by` is who wants it, a user or a name, and `reason` why: both stand in the log, and in the
    admin's history where `by` is a user. Without `by` it is whom the process runs as.

    Returns when the word is out: sessions end within moments, on other instances too. Raises
    Unavailable where other instances cannot be reached, NotRunning where no server is (but see
    `OUTSIDE_SERVER`). With `on_commit` it is done when the transaction (of the database `using`)
    commits, or at once where there is none, and raises neither: they are logged.
    """
    target = _build_target(session=session, user=user, sid=sid)
    actor = find_actor(by)

    def act() -> None:
        end_sessions([target], code=code, actor=actor, reason=reason)

    # The next look at everybody finds whoever is gone, and nobody else.
    is_found_later = code is CloseCode.REVOKED
    _perform(act, NOT_ENDED, on_commit, using, is_found_later=is_found_later)


async def adisconnect(
    *,
    session: str | None = None,
    user: Any = None,
    sid: str | None = None,
    code: CloseCode = CloseCode.DISCONNECTED,
    by: Any = None,
    reason: str = "",
    on_commit: bool = False,
    using: str | None = None,
) -> None:
    """The same as `disconnect()`, for async code."""
    target = _build_target(session=session, user=user, sid=sid)
    if on_commit:
        # A transaction around this code is in the thread where it uses the ORM.
        await sync_to_async(disconnect)(
            session=target.session,
            user=target.user,
            sid=target.sid,
            code=code,
            by=find_actor(by),
            reason=reason,
            on_commit=True,
            using=using,
        )
        return
    act = Act("sessions were told to end", find_actor(by), [target], code, reason)
    try:
        runtime = find_runtime()
    except NotRunning as error:
        if not is_excused(error, logger, NOT_ENDED):
            raise
        return
    await _end(runtime, act)


def end_sessions(
    targets: Sequence[Target], *, code: CloseCode, actor: Actor, reason: str = ""
) -> None:
    """End what the targets mean, and note who wanted it; raises NotRunning, Unavailable."""
    runtime = find_runtime()
    act = Act("sessions were told to end", actor, targets, code, reason)
    if runtime.is_current():
        runtime.run_soon(_end(runtime, act))
        return
    operation = runtime.disconnect(targets, code)
    try:
        asyncio.run_coroutine_threadsafe(operation, runtime.loop).result()
    except Unavailable:
        _note(act, PARTLY)
        raise
    _note(act)


def recheck(
    *,
    users: Iterable[Any] | None = None,
    by: Any = None,
    reason: str = "",
    on_commit: bool = False,
    using: str | None = None,
) -> None:
    """Look again whether these users (instances or keys; None: everybody) may be where they are.

    Call it after a change of what a policy depends on: a session whose user is gone ends with
    4505, and one that may not be where it is any more with 4503. Groups and permissions of
    Django's users need no call. `by`, `reason`, `on_commit` and `using`, and what is raised: as
    of `disconnect()`.
    """
    keys, act = _build_recheck(users, by, reason)
    if keys is not None and not keys:
        return

    def look() -> None:
        runtime = find_runtime()
        operation = runtime.recheck(keys)
        if runtime.is_current():
            runtime.run_soon(operation)
        else:
            asyncio.run_coroutine_threadsafe(operation, runtime.loop).result()
        act.log()

    _perform(look, NOT_CHECKED, on_commit, using, is_found_later=True)


async def arecheck(
    *,
    users: Iterable[Any] | None = None,
    by: Any = None,
    reason: str = "",
    on_commit: bool = False,
    using: str | None = None,
) -> None:
    """The same as `recheck()`, for async code."""
    keys, act = _build_recheck(users, by, reason)
    if keys is not None and not keys:
        return
    if on_commit:
        again = sync_to_async(recheck)
        await again(users=keys, by=act.actor, reason=reason, on_commit=True, using=using)
        return
    try:
        runtime = find_runtime()
    except NotRunning as error:
        if not is_excused(error, logger, NOT_CHECKED):
            raise
        return
    await _await(runtime, runtime.recheck(keys))
    act.log()


def _perform(
    act: Callable[[], None],
    failure: str,
    on_commit: bool,
    using: str | None,
    *,
    is_found_later: bool,
) -> None:
    """Do it now, or at the commit; by the rule of `realtime.announcing`."""

    def attempt() -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 (it is logged; the change is saved already)
            level = logging.INFO if is_found_later else logging.ERROR
            hint = "; servers find out within RECHECK_SECONDS" if is_found_later else ""
            report(error, logger, failure + hint, level=level)

    if on_commit:
        if not defer(attempt, using):
            attempt()
        return
    try:
        act()
    except NotRunning as error:
        if not is_excused(error, logger, failure):
            raise


async def _end(runtime: Runtime, act: Act) -> None:
    try:
        await _await(runtime, runtime.disconnect(act.targets, act.code or CloseCode.DISCONNECTED))
    except Unavailable:
        await _anote(act, PARTLY)
        raise
    await _anote(act)


def _note(act: Act, *outcome: str) -> None:
    act.log(*outcome)
    act.write(*outcome)


async def _anote(act: Act, *outcome: str) -> None:
    act.log(*outcome)
    if act.actor.user is not None:
        await database_sync_to_async(act.write)(*outcome)


async def _await(runtime: Runtime, operation: Coroutine[Any, Any, None]) -> None:
    """Run something in the runtime's loop, from any loop."""
    if runtime.is_current():
        await operation
    else:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(operation, runtime.loop))


def _build_recheck(
    users: Iterable[Any] | None, by: Any, reason: str
) -> tuple[set[str] | None, Act]:
    keys = None if users is None else {str(getattr(user, "pk", user)) for user in users}
    if keys is not None and len(keys) > MAX_USERS:
        keys = None
    targets = [Target(user=key) for key in sorted(keys)] if keys is not None else []
    return keys, Act("sessions were told to be checked", find_actor(by), targets, reason=reason)


def _build_target(*, session: str | None, user: Any, sid: str | None) -> Target:
    if (session is not None) + (user is not None) + (sid is not None) != 1:
        raise TypeError("disconnect() takes one of session, user and sid")
    key = getattr(user, "pk", user)
    return Target(
        session=None if session is None else str(session),
        user=None if key is None else str(key),
        sid=None if sid is None else str(sid),
    )
