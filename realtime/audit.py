"""Who did what to sessions on purpose: a line of the log, and the admin's history.

Every such act leaves one line in `realtime.audit`, whichever door it came by. Where a user of
Django did it, an entry in the admin's history ("History" on the page of a session or a user) says
so too, for each target.
"""

import getpass
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from realtime.core.close_codes import CloseCode
from realtime.models import Session
from realtime.sessions import Target

logger = logging.getLogger("realtime.audit")

# Targets that one line of the log names; the history has an entry for each.
MAX_NAMED = 50
# Targets that are looked up and written together.
BATCH_SIZE = 500

DONE = "done"
PARTLY = "other instances could not be told"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who, and by which door: `admin`, `rest`, `command` or `code`.

    `user` is of Django, or None.
    """

    name: str
    door: str
    user: Any = None


_acting: ContextVar[Actor | None] = ContextVar("realtime_acting", default=None)


@contextmanager
def acting_as(user: Any, *, door: str = "code") -> Iterator[None]:
    """Whatever is ended by code within it, also at the commit, was done by this user.

    The log says so. The history does where `by` does: what this is around, as a form of the admin
    that changes a user, has an entry of its own.
    """
    token = _acting.set(replace(find_actor(user, door=door), user=None))
    try:
        yield
    finally:
        _acting.reset(token)


def find_actor(by: Any = None, *, door: str = "code") -> Actor:
    """`by` is a user, or a name; None: who acts around this, or else who runs this process."""
    if isinstance(by, Actor):
        return by
    if by is None:
        return _acting.get() or Actor(_name_process(), door)
    if getattr(by, "pk", None) is not None:
        return Actor(by.get_username(), door, by)
    return Actor(str(by), door)


@dataclass(frozen=True, slots=True)
class Act:
    """Something that was done to targets. No targets: to everybody."""

    deed: str
    actor: Actor
    targets: Sequence[Target] = ()
    code: CloseCode | None = None
    reason: str = ""

    def log(self, outcome: str = DONE) -> None:
        """One line, of bounded length."""
        logger.info(
            self.deed,
            extra={
                "by": self.actor.name,
                "door": self.actor.door,
                "targets": ", ".join(map(str, self.targets[:MAX_NAMED])) or "everybody",
                "count": len(self.targets),
                "code": None if self.code is None else int(self.code),
                "reason": self.reason,
                "outcome": outcome,
            },
        )

    def write(self, outcome: str = DONE) -> None:
        """Entries in the admin's history, in batches, where a user did it and there is one."""
        user = self.actor.user
        if user is None or not apps.is_installed("django.contrib.admin"):
            return
        from django.contrib.admin.models import CHANGE, LogEntry

        for start in range(0, len(self.targets), BATCH_SIZE):
            entries = [
                LogEntry(
                    user_id=user.pk,
                    content_type_id=content_type,
                    object_id=key,
                    object_repr=text[:200],
                    action_flag=CHANGE,
                    change_message=self._describe(target, outcome),
                )
                for target, (content_type, key, text) in _find_objects(
                    self.targets[start : start + BATCH_SIZE]
                )
            ]
            LogEntry.objects.bulk_create(entries, batch_size=BATCH_SIZE)

    def _describe(self, target: Target, outcome: str) -> str:
        doors = {"admin": "", "rest": " over REST", "command": " by a command"}
        door = doors.get(self.actor.door, " by code")
        more = [part for part in (self.reason, "" if outcome == DONE else outcome) if part]
        if self.code not in (None, CloseCode.DISCONNECTED):
            more.insert(0, f"code {int(self.code or 0)}")
        what = "Disconnected" if self.code is CloseCode.DISCONNECTED else "Ended"
        if target.session is None:
            what += " all live sessions"
        return f"{what}{door}{': ' + '; '.join(more) if more else ''}."


def _find_objects(
    targets: Sequence[Target],
) -> Iterator[tuple[Target, tuple[int | None, str, str]]]:
    """The content type, the key and the name of each; of a sign-in there is no model here."""
    from django.contrib.contenttypes.models import ContentType

    users = get_user_model()
    sessions = [target.session for target in targets if target.session is not None]
    rows: dict[str, Any] = {str(row.pk): row for row in Session.objects.filter(pk__in=sessions)}
    keys = [target.user for target in targets if target.user is not None]
    try:
        found = {str(pk): user for pk, user in users._default_manager.in_bulk(keys).items()}
    except (ValueError, OverflowError, ValidationError):  # a key that no user can have
        found = {}
    types = ContentType.objects.get_for_models(Session, users)
    for target in targets:
        if target.session is not None:
            text = str(rows.get(target.session, target))
            yield target, (types[Session].pk, target.session, text)
        elif target.user is not None:
            text = str(found.get(target.user, target))
            yield target, (types[users].pk, target.user, text)
        else:
            yield target, (None, str(target.sid), str(target))


def _name_process() -> str:
    """Whom the operating system runs this process as."""
    try:
        return f"{getpass.getuser()} (operating system)"
    except (KeyError, OSError):  # a container has users without a name
        return f"uid {os.getuid()} (operating system)"
