"""What comes from one socket, and no more of it than the application is ready for.

It stands between the transport and the application: it decides when the transport reads, how
much of what was read is looked at in one turn of the event loop, and keeps its account.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

from realtime.conf import Settings
from realtime.core.close_codes import CloseCode
from realtime.core.entries import LongMessage
from realtime.limits import FIRST_MESSAGE_BYTES, HeldMemory
from realtime.limits.allowances import Allowance
from realtime.server.account import InputAccount
from realtime.server.parser import MAX_KEPT, MessageParser

# What is taken at a time, in bytes, unless it is a part of a long message.
READ_SIZE = 16 * 1024
# Reading pauses when so many messages, or bytes, wait for the application, and goes on at so many.
PAUSE_AT = 64
PAUSE_BYTES = 1024 * 1024
RESUME_AT = 16
# The longest head of a frame from a client, in bytes.
MAX_HEAD = 14
# What an event costs that waits, besides its data, in bytes.
EVENT_COST = 400
# So many bytes of a socket are not counted, so that short messages cost nothing for it.
UNCOUNTED = MAX_KEPT + 8
# A client has to wait for the answer to its handshake (RFC 6455, section 4.1); for one that does
# not, this much is kept. What did not come along with the handshake stays with the kernel.
EARLY_BYTES = FIRST_MESSAGE_BYTES

Event = dict[str, Any]
# An empty deque takes 760 bytes, as much as a small message: who has nothing shares this one.
_NOTHING: deque[Event] = deque(maxlen=0)


class _Stage(Enum):
    EARLY = "not accepted"
    WAITING = "accepted; the session has not begun"
    OPEN = "whatever comes is read"


# Looked at for each message, where an attribute of an enumeration costs.
_WAITING, _OPEN = _Stage.WAITING, _Stage.OPEN


class SocketReader:
    """A parser, the events that wait for the application, and when to read on.

    `is_own` says whether a session of this package is there: it tells when it begins. Other ASGI
    applications get what comes from the moment on in which they accept.
    """

    __slots__ = (
        "_account",
        "_events",
        "_fail",
        "_finished",
        "_has_received",
        "_in_hand",
        "_is_behind",
        "_is_early",
        "_is_lost",
        "_is_paused",
        "_is_scheduled",
        "_loop",
        "_settings",
        "_stage",
        "_transport",
        "_unread",
        "_waiter",
        "_write",
        "is_own",
        "parser",
    )

    def __init__(
        self,
        transport: Any,
        settings: Settings,
        *,
        write: Callable[[list[bytes]], None],
        fail: Callable[[CloseCode, str], None],
        cut: Callable[[CloseCode, str], None],
    ) -> None:
        """`write` gets the protocol's answers; `fail` closes the connection, `cut` lets go, too."""
        self._account = InputAccount(settings, fail=fail, cut=cut)
        self.parser = MessageParser(
            max_size=max(settings.max_text_bytes, settings.frame_limit),
            allocate=self._account.allocate,
        )
        self.is_own = False
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._settings = settings
        self._write = write
        self._fail = fail
        self._stage = _Stage.EARLY
        self._events = _NOTHING
        self._unread = 0  # bytes (or characters) of these, and their cost
        self._in_hand = 0  # of the message that the application has taken last
        self._waiter: asyncio.Future[Event] | None = None
        self._is_paused = False
        self._is_behind = False  # the application has enough for now
        self._is_scheduled = False  # what was left is looked at in the next turn
        self._is_lost = False
        self._has_received = False  # since `has_received` was asked
        self._is_early = False  # the next ones are to come later
        self._finished = 0  # messages
        self.pause()

    # The session's side

    def attend(self, memory: HeldMemory, *, owner: str) -> None:
        """A session of this package is there: until it has begun it asks for each message."""
        self.is_own = True
        self._account.open(memory, owner=owner, has_begun=False)
        self.parser.max_size = self.parser.max_text = FIRST_MESSAGE_BYTES
        self.parser.stops_at_message = True

    def begin(self, allowance: Allowance | None, *, owner: str) -> None:
        """It has begun: all that comes is read, up to the limits of the settings."""
        self._account.begin(allowance, owner=owner)
        self.parser.max_size = max(self._settings.max_text_bytes, self._settings.frame_limit)
        self.parser.max_text = self._settings.max_text_bytes
        self.open()

    def hand_over(self) -> None:
        """The session counts the message itself that it has received last."""
        self._in_hand = 0
        self._count()

    async def receive(self) -> Event:
        """ASGI: the next event."""
        self._in_hand = 0
        if not self._events:
            if self._account.held:
                self._count()
            waiter: asyncio.Future[Event] = self._loop.create_future()
            self._waiter = waiter
            if self._stage is _WAITING:
                self._arrange()
            try:
                return await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._keep(waiter.result(), first=True)  # it came at the same moment
                raise
        event = self._events.popleft()
        self._in_hand = _measure(event)
        self._unread -= self._in_hand + EVENT_COST
        if not self._events:
            self._events = _NOTHING
        if self._is_behind:
            self._arrange()
        return event

    # The connection's side

    @property
    def is_paused(self) -> bool:
        """Whether the socket is not read now."""
        return self._is_paused

    def plan_read(self) -> memoryview | int:
        """Where to receive what comes next, or how many bytes of it to take at most."""
        if (buffer := self.parser.find_buffer()) is not None:
            return buffer
        if self._stage is _WAITING:  # what is behind the first message stays where it is
            return max(FIRST_MESSAGE_BYTES + MAX_HEAD - self.parser.held, 1)
        return READ_SIZE

    def has_received(self) -> bool:
        """Whether anything has come since this was asked last."""
        has_received, self._has_received = self._has_received, False
        return has_received

    def accept(self, memory: HeldMemory, *, owner: str) -> None:
        """The application has accepted; `memory` is for one that is none of this package's."""
        if self._stage is not _Stage.EARLY:
            return
        if not self.is_own:
            self._account.open(memory, owner=owner, has_begun=True)
            self.open()
            return
        self._stage = _WAITING
        if self.parser.held > EARLY_BYTES:
            self._fail(CloseCode.MESSAGE_TOO_BIG, "too much before the handshake was answered")

    def open(self) -> None:
        """Read whatever comes."""
        self.parser.stops_at_message = False
        self._stage = _OPEN
        self._settle()
        self._arrange()

    def take(self, data: bytes | memoryview) -> None:
        """Bytes from the client, which have been received now."""
        self._has_received = True
        if self._is_paused and self.parser.find_buffer() is None:
            self.parser.keep(bytes(data))  # the transport had it already
            self._settle()
        else:
            self._feed(data)

    def push(self, event: Event, size: int = 0) -> None:
        """An event for the application, with so much data."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            self._in_hand = size
            waiter.set_result(event)  # past the queue: the application waits for it
        else:
            self._keep(event)

    def check(self, now: float) -> None:
        """Called every two seconds: a message that does not come to its end is given up."""
        received = self.parser.received if self._stage is _OPEN else 0
        self._account.check(received, message=self._finished, is_paused=self._is_paused, now=now)

    def stop(self) -> None:
        """The connection was failed: what waits is for nobody, and what comes is dropped."""
        self._events, self._unread = _NOTHING, 0
        self._account.close()
        self._stage = _OPEN
        self._is_behind = self._is_early = False
        self._arrange()

    def lose(self) -> None:
        """The socket is gone."""
        self._is_lost = True
        self._account.close()
        self.parser.release()

    def pause(self) -> None:
        """Read nothing for now."""
        if not self._is_paused:
            self._is_paused = True
            self._transport.pauseProducing()

    # Turns

    def _feed(self, data: bytes | memoryview) -> None:
        parser = self.parser
        messages = parser.feed(data)
        for message in messages:
            self._finished += 1
            if isinstance(message, LongMessage) and not self.is_own:
                message = bytes(message)  # what ASGI promises to other applications
            kind = "text" if isinstance(message, str) else "bytes"
            event: Event = {"type": "websocket.receive", kind: message}
            waiter = self._waiter
            if waiter is None or waiter.done():
                self._keep(event)
            else:  # past the queue: the application waits for it
                self._waiter, self._in_hand = None, len(message)
                waiter.set_result(event)
        if (
            not parser.is_quiet
            or self._events is not _NOTHING
            or self._in_hand > UNCOUNTED
            or self._account.held
            or self._stage is not _OPEN
        ):
            if answers := parser.take_answers():
                self._write(answers)
            self._settle()

    def _settle(self) -> None:
        """Count what has come, and read on or not."""
        parser = self.parser
        if parser.other_frames:
            count, parser.other_frames = parser.other_frames, 0
            self._account.take_frames(count)
        unfinished = parser.received
        wait = self._account.take_bytes(unfinished if unfinished > UNCOUNTED else 0)
        if wait and not self._is_early:
            self._is_early = True
            self._loop.call_later(wait, self._end_wait)
        self._count()
        if (
            parser.has_more
            or len(self._events) >= PAUSE_AT
            or self._unread > PAUSE_BYTES
            or self._is_early
            or self._stage is not _OPEN
        ):
            self._arrange()

    def _arrange(self) -> None:
        """Read on, look at what was left, or wait until the application wants more."""
        if self._is_lost or self._stage is _Stage.EARLY:
            return
        if self._stage is _WAITING:
            is_wanted = self._waiter is not None and not self._waiter.done()
        else:
            waiting = len(self._events)
            if self._is_behind:
                self._is_behind = waiting > RESUME_AT or self._unread > PAUSE_BYTES
            else:
                self._is_behind = waiting >= PAUSE_AT or self._unread > PAUSE_BYTES
            is_wanted = not (self._is_behind or self._is_early)
        if not is_wanted:
            self.pause()
        elif self.parser.has_more:
            self.pause()
            if not self._is_scheduled:
                self._is_scheduled = True
                self._loop.call_soon(self._go_on)
        elif self._is_paused:
            self._is_paused = False
            self._transport.resumeProducing()

    def _go_on(self) -> None:
        self._is_scheduled = False
        is_wanted = not (self._is_lost or self._is_behind or self._is_early)
        if not is_wanted or not self.parser.has_more:
            return
        if self._stage is _OPEN or (self._waiter is not None and not self._waiter.done()):
            self._feed(b"")
            self._arrange()

    def _end_wait(self) -> None:
        self._is_early = False
        self._arrange()

    def _count(self) -> None:
        held = self.parser.held + self._unread + self._in_hand
        self._account.hold(held if held > UNCOUNTED else 0)

    # Events

    def _keep(self, event: Event, *, first: bool = False) -> None:
        if self._events is _NOTHING:
            self._events = deque()
        if first:
            self._events.appendleft(event)
        else:
            self._events.append(event)
        self._unread += _measure(event) + EVENT_COST


def _measure(event: Event) -> int:
    return len(event.get("bytes") or event.get("text") or "")
