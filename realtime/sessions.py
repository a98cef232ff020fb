"""The sessions of this process: who is connected, and how to end them."""

import random
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from realtime.core.close_codes import CloseCode
from realtime.core.identity import Identity

# A disconnect also reaches sessions whose handshake was under way when it came.
RECENT_SECONDS = 30.0
MAX_RECENT = 10_000
# How many sessions of a process that restarts should come back in a second.
RETURNS_A_SECOND = 200


def _ignore_close(code: CloseCode, reason: str) -> None:
    pass


async def _ignore_recheck(identity: Identity) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Target:
    """Which sessions a disconnect means: one session, all of a user, or all of a sign-in."""

    session: str | None = None
    user: str | None = None
    sid: str | None = None

    def matches(self, session: "Session") -> bool:
        return (
            (self.session is not None and self.session == session.id)
            or (self.user is not None and self.user == session.user_id)
            or (self.sid is not None and self.sid == session.sid)
        )

    def __str__(self) -> str:
        if self.session is not None:
            return f"session {self.session}"
        return f"sign-in {self.sid}" if self.user is None else f"user {self.user}"


@dataclass(eq=False, slots=True)
class Session:
    """One accepted connection. Counts are of messages and bytes of payload."""

    topic: str
    address: str
    user_agent: str
    close: Callable[[CloseCode, str], None]
    # Look again whether this user may be here.
    recheck: Callable[[Identity], Awaitable[None]]
    outbox: Any = None  # while the session lives; it counts what goes out
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    identity: Identity | None = None
    began: float = field(default_factory=time.time)
    ended: float | None = None
    handshake_began: float = field(default_factory=time.monotonic)
    messages_in: int = 0
    bytes_in: int = 0
    messages_out: int = 0
    bytes_out: int = 0
    errors: int = 0
    skipped: int = 0
    waiting_bytes: int = 0
    close_code: int | None = None
    has_begun: bool = False
    has_row: bool = False  # it may have one: a writing of it was begun
    keeps_row: bool = True  # also when it has ended
    look: int = 0  # the last one of `Rechecks` that found it
    _counted: tuple[int, ...] = (0, 0, 0, 0, 0)

    @property
    def user(self) -> Any:
        """The Django user, or None for an anonymous session."""
        return self.identity.user if self.identity else None

    @property
    def user_id(self) -> str | None:
        return str(self.identity.user.pk) if self.identity else None

    @property
    def username(self) -> str | None:
        return self.identity.user.get_username() if self.identity else None

    @property
    def sid(self) -> str | None:
        return self.identity.sid if self.identity else None

    def take_counts(self) -> None:
        """Note what the outbox has counted until now."""
        if (outbox := self.outbox) is not None:
            self.messages_out, self.bytes_out = outbox.messages, outbox.bytes
            self.skipped, self.waiting_bytes = outbox.skipped, outbox.waiting

    def let_go(self) -> None:
        """It has ended: keep its counts, and nothing of its connection.

        While the database is away, many sessions that have ended wait to be written.
        """
        self.take_counts()
        self.outbox = None
        self.close, self.recheck = _ignore_close, _ignore_recheck

    def has_moved(self) -> bool:
        """Whether anything has been counted since this was asked last."""
        self.take_counts()
        before, self._counted = (
            self._counted,
            (
                self.messages_in,
                self.messages_out,
                self.errors,
                self.skipped,
                self.waiting_bytes,
            ),
        )
        return self._counted != before

    def describe(self) -> dict[str, str | None]:
        """Who this is, for a line of the log."""
        return {
            "session": self.id,
            "topic": self.topic,
            "user": self.username,
            "address": self.address,
        }


class Sessions:
    """The registry of this process."""

    def __init__(self) -> None:
        self._open: set[Session] = set()  # every accepted socket, signed in or not
        self._sessions: dict[str, Session] = {}
        # Users and sign-ins that were to end, and when; the latest is the last.
        self._recent: OrderedDict[Target, tuple[float, CloseCode]] = OrderedDict()
        self._ended_messages = (0, 0)  # of sessions that are no more: in, out
        self.unkept_count = 0  # of those of which no row was kept

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Any:
        return iter(tuple(self._sessions.values()))

    @property
    def open(self) -> tuple[Session, ...]:
        """Every accepted socket, also one whose handshake is under way."""
        return tuple(self._open)

    @property
    def open_count(self) -> int:
        """How many of those there are."""
        return len(self._open)

    def enter(self, session: Session) -> None:
        """Note a socket that was accepted."""
        self._open.add(session)

    def add(self, session: Session) -> None:
        """Register a session; one that was told to end during its handshake ends now."""
        self._sessions[session.id] = session
        self.check(session, since=session.handshake_began)

    def check(self, session: Session, *, since: float) -> None:
        """End a session that a disconnect since then (monotonic seconds) meant, as it is now."""
        for target in (Target(user=session.user_id), Target(sid=session.sid)):
            moment, code = self._recent.get(target, (0.0, CloseCode.DISCONNECTED))
            if moment >= since:
                session.close(code, "")
                return

    def remove(self, session: Session) -> None:
        """A session has ended, and its counts are final."""
        self._open.discard(session)
        self._sessions.pop(session.id, None)
        incoming, outgoing = self._ended_messages
        self._ended_messages = (incoming + session.messages_in, outgoing + session.messages_out)

    def count_messages(self) -> tuple[int, int]:
        """The messages of all sessions since the start: from clients, and to them."""
        incoming, outgoing = self._ended_messages
        for session in self:
            session.take_counts()
            incoming += session.messages_in
            outgoing += session.messages_out
        return incoming, outgoing

    def disconnect(self, target: Target, code: CloseCode, reason: str = "") -> int:
        """End the sessions that the target means; returns how many."""
        if target.session is None:  # one that has begun: nobody knows of another
            self._note_recent(target, code)
        ended = self._find(target)
        for session in ended:
            session.close(code, reason)
        return len(ended)

    def _note_recent(self, target: Target, code: CloseCode) -> None:
        now = time.monotonic()
        recent = self._recent
        recent[target] = (now, code)
        recent.move_to_end(target)
        oldest = next(iter(recent))
        while recent[oldest][0] < now - RECENT_SECONDS or len(recent) > MAX_RECENT:
            del recent[oldest]
            oldest = next(iter(recent))

    def _find(self, target: Target) -> list[Session]:
        if target.session is not None:  # one of thousands, and an administrator may mean many
            session = self._sessions.get(target.session)
            return [] if session is None else [session]
        return [session for session in self if target.matches(session)]


def pick_retry_after(count: int = 0) -> str:
    """When to come back: spread out, and the more so the more sessions do at the same time."""
    latest = 2 + min(count / RETURNS_A_SECOND, 28)
    return f"retry_after={random.uniform(0.5, latest):.2f}"  # noqa: S311 (no secret)
