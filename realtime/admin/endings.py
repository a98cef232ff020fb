"""Ending sessions, and banning users: what the admin does, and writes down who did it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.db import transaction

from realtime.control import disconnect
from realtime.core.close_codes import CloseCode
from realtime.core.errors import NotRunning, Unavailable
from realtime.models import Session
from realtime.runtime import find_runtime

# How many one click ends: each session is a message to every instance.
MAX_SESSIONS = 1000
MAX_USERS = 100


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many were dealt with, and why others may not have heard of it."""

    done: int
    failure: str = ""


def disconnect_sessions(sessions: Iterable[Session], *, actor: Any) -> Outcome:
    """End sessions with 4002, on whatever instance they are."""
    told, failure = [], ""
    try:
        find_runtime()
        for session in sessions:
            disconnect(session=str(session.pk))
            told.append(session)
    except (NotRunning, Unavailable) as error:
        failure = _explain(error)
    LogEntry.objects.log_actions(actor.pk, told, CHANGE, "Disconnected.")
    return Outcome(len(told), failure)


def disconnect_users(users: Sequence[Any], *, actor: Any) -> Outcome:
    """End all sessions of each user with 4002."""
    told, failure = _tell(users, CloseCode.DISCONNECTED)
    LogEntry.objects.log_actions(actor.pk, told, CHANGE, "Disconnected all live sessions.")
    return Outcome(len(told), failure)


def ban_users(users: Sequence[Any], *, actor: Any) -> Outcome:
    """Deactivate each user, and end all of the sessions with 4505.

    Who cannot be told of it now finds out at the next look at the users of live sessions.
    """
    for user in users:
        with transaction.atomic():
            user.is_active = False
            user.save(update_fields=["is_active"])  # its own: what hangs on it happens too
            LogEntry.objects.log_actions(actor.pk, [user], CHANGE, "Banned: deactivated.")
    _, failure = _tell(users, CloseCode.REVOKED)
    return Outcome(len(users), failure)


def _tell(users: Sequence[Any], code: CloseCode) -> tuple[list[Any], str]:
    told: list[Any] = []
    try:
        find_runtime()
        for user in users:
            disconnect(user=user, code=code)
            told.append(user)
    except (NotRunning, Unavailable) as error:
        return told, _explain(error)
    return told, ""


def _explain(error: NotRunning | Unavailable) -> str:
    if isinstance(error, NotRunning):
        return "This process reaches no server: no session was told."
    return f"Other instances cannot be reached: {error.detail}"
