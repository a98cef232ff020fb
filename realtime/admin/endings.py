"""Ending sessions, and banning users: what the admin does. `realtime.audit` notes who did it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.db import transaction

from realtime.audit import acting_as, find_actor
from realtime.control import end_sessions
from realtime.core.close_codes import CloseCode
from realtime.core.errors import NotRunning, Unavailable
from realtime.sessions import Target

# How many one click ends: each gets an entry in the history.
MAX_SESSIONS = 10_000
MAX_USERS = 100


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many were dealt with, and why others may not have heard of it."""

    done: int
    failure: str = ""


def disconnect_sessions(ids: Sequence[Any], *, actor: Any) -> Outcome:
    """End the sessions with these ids by 4002, on whatever instance they are."""
    return _tell([Target(session=str(id)) for id in ids], CloseCode.DISCONNECTED, actor)


def disconnect_users(users: Sequence[Any], *, actor: Any) -> Outcome:
    """End all sessions of each user with 4002."""
    return _tell([Target(user=str(user.pk)) for user in users], CloseCode.DISCONNECTED, actor)


def ban_users(users: Sequence[Any], *, actor: Any) -> Outcome:
    """Deactivate each user, and end all of the sessions with 4505.

    Who cannot be told of it now finds out at the next look at the users of live sessions.
    """
    with acting_as(actor, door="admin"):
        for user in users:
            with transaction.atomic():
                user.is_active = False
                user.save(update_fields=["is_active"])  # its own: what hangs on it happens too
                LogEntry.objects.log_actions(actor.pk, [user], CHANGE, "Banned: deactivated.")
    targets = [Target(user=str(user.pk)) for user in users]
    told = _tell(targets, CloseCode.REVOKED, actor, is_noted=True)
    return Outcome(len(users), told.failure)


def _tell(
    targets: Sequence[Target], code: CloseCode, actor: Any, *, is_noted: bool = False
) -> Outcome:
    who = find_actor(actor, door="admin")
    if is_noted:  # in the history, already
        who = replace(who, user=None)
    try:
        end_sessions(targets, code=code, actor=who, reason="banned" if is_noted else "")
    except NotRunning:
        return Outcome(0, "This process reaches no server: no session was told.")
    except Unavailable as error:
        return Outcome(
            0,
            f"Other instances cannot be reached: {error.detail}. "
            "Sessions of this instance have ended all the same.",
        )
    return Outcome(len(targets))
