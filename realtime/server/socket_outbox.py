"""The outbox of a socket that this process writes itself.

While nothing waits, an item goes straight to the kernel by `socket.send`. What the kernel does
not take is handed over piece by piece, as a *pull* producer of Twisted's transport: each time
its buffer is empty it asks for more. So we know what the socket has not taken, and pings can go
between two frames of a long item.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from realtime.core.close_codes import CloseCode
from realtime.frames import Frames, Wire
from realtime.outbox import ABORT_DELAY, CLOSE_PATIENCE

# How much the transport is given at a time, in bytes.
PIECE = 128 * 1024
# How much the kernel may hold that it has not sent yet, in bytes; it would take megabytes. What
# a slow reader takes shows here only in steps of about this size, so it bounds how slow one may be.
UNSENT = 128 * 1024
_MORE = getattr(socket, "MSG_MORE", 0)  # Linux
_NOT_SENT = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux, macOS
# How many bytes of control frames may wait for a frame to end.
MAX_URGENT = 4096


# An empty deque takes 760 bytes, a view 312: outboxes in which nothing waits share these, which
# stay empty.
_NO_FRAMES: deque[Frames] = deque(maxlen=0)
_NO_WIRES: deque[Wire] = deque(maxlen=0)
_NO_BYTES = memoryview(b"")


def _do_nothing() -> None:
    pass


@implementer(IPullProducer)
class SocketOutbox:
    """Has the same methods and callbacks as `realtime.outbox.Outbox`, without its task."""

    def __init__(self, transport: Any, send_close: Callable[[int, str], None]) -> None:
        self.messages = 0
        self.bytes = 0
        self.skipped = 0  # publications that newer ones took the place of
        self.on_empty: Callable[[], None] | None = None
        self.stall_timeout: float | None = None
        self.is_writing = False  # whether something waits, and the transport pulls
        self.progress = 0.0  # when the socket last took something that waited, in the loop's time
        self._limit = 1
        self._on_slow = _do_nothing
        self._transport = transport
        self._send_close = send_close
        self._loop = asyncio.get_running_loop()
        # TLS and wrapped transports encrypt or count what is written: no short cut there.
        is_plain = isinstance(transport, tcp.Connection) and not transport.TLS
        self.socket = transport.socket if is_plain else None
        # What is not sent yet stays here, where pings can go before it and it can be counted.
        self._limit_unsent()
        self._queue = _NO_FRAMES
        self._waiting = 0  # the bytes in the queue, behind the item being written
        self._item = _NO_WIRES  # what is left of that item
        self._piece = _NO_BYTES  # what is left of the frames begun
        self._payload: memoryview | None = None  # of the head that is being written
        self._urgent = b""  # control frames, which go before what waits
        self._watch: asyncio.TimerHandle | None = None
        self._cutting: asyncio.TimerHandle | None = None
        # Those who wait for it to be empty, and the item that one of them puts then.
        self._drained: list[tuple[asyncio.Future[None], Frames | None]] = []
        self._last: Callable[[], None] | None = None  # called when all has been written
        self._is_closed = False

    def configure(
        self,
        *,
        limit: int,
        stall_timeout: float | None,
        on_slow: Callable[[], None],
        on_abort: Callable[[], None],
    ) -> "SocketOutbox":
        """Set the bound and the callbacks of a session, as `Outbox` takes them.

        `on_abort` is not needed: the socket is cut here, and the session told as ever.
        """
        self._limit = limit
        self.stall_timeout = stall_timeout
        self._on_slow = on_slow
        return self

    @property
    def is_used(self) -> bool:
        """Whether a session of this package writes here, past the ASGI application's `send`."""
        return self._on_slow is not _do_nothing

    @property
    def waiting(self) -> int:
        """The bytes that wait behind the item being written."""
        return self._waiting

    def has_room(self, size: int) -> bool:
        """Whether an item of that many bytes would be taken."""
        return not self._queue or self._waiting + size <= self._limit

    def put(self, frames: Frames) -> None:
        """Write an item, or queue it; where it finds no room it is dropped (`on_slow`)."""
        if self._last is not None or self._is_closed:
            return
        if self.is_writing and not self.has_room(frames.size):
            self._on_slow()
            return
        self.messages += len(frames.messages)
        self.bytes += frames.size
        if self.is_writing:
            self._queue.append(frames)
            self._waiting += frames.size
            if self._watch is None and self.stall_timeout is not None:
                self._watch = self._loop.call_later(self.stall_timeout, self._check_progress)
            return
        wires = frames.wires
        if len(wires) > 1 or isinstance(first := wires[0], tuple):
            self._start_writing(wires)
        elif (sent := self._send_now(first)) < len(first):
            self._piece = memoryview(first)[sent:]
            self._start_writing()

    def put_urgent(self, frame: bytes) -> None:
        """Write a control frame before what waits."""
        if self._is_closed:
            return
        if self.is_writing:
            if len(self._urgent) > MAX_URGENT:
                self._urgent = b""  # pongs that a peer does not read: the last one is enough
            self._urgent += frame
            return
        sent = self._send_now(frame)
        if sent < len(frame):
            self._piece = memoryview(frame)[sent:]
            self._start_writing()

    async def drained(self) -> None:
        """Wait until nothing waits and nothing is being written (or the outbox is closed)."""
        if self.is_writing and not self._is_closed:
            await self._wait_drained(None)

    async def put_when_drained(self, frames: Frames) -> None:
        """Put an item in the moment in which nothing waits: so a long one makes nobody slow."""
        if self.is_writing and not self._is_closed:
            await self._wait_drained(frames)
        else:
            self.put(frames)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Close the socket after what waits; later items are dropped.

        Where the socket makes no progress with what waits the connection is cut.
        """
        if self._last is None and not self._is_closed:
            self._last = partial(self._send_close, int(code), reason)
            if not self.is_writing:
                self._finish()
            elif self._watch is None:
                self._watch = self._loop.call_later(self._patience, self._check_progress)

    def end(self, last: Callable[[], None]) -> None:
        """Drop what waits, finish the frame being written and control frames, call `last`."""
        self.discard()
        self._last = last
        if not self.is_writing:
            self._finish()

    def abort(self, code: CloseCode, reason: str = "") -> None:
        """Drop what waits, finish what is being written, close; cut the socket if need be."""
        self.discard()
        self.close(code, reason)
        if self._cutting is None:
            self._cutting = self._loop.call_later(ABORT_DELAY, self._cut)

    def discard(self) -> None:
        """Drop what waits; what is being written goes on to the end of its frame."""
        self._queue.clear()
        self._item.clear()
        self._waiting = 0
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._release_drained()

    def lose(self) -> None:
        """The socket is gone: write nothing more."""
        self._is_closed = True
        self._last = None
        self._piece, self._payload = _NO_BYTES, None
        self.discard()

    # Called by the transport

    def resumeProducing(self) -> None:
        """The transport's buffer is empty, or the kernel takes more: write on."""
        if self.socket is None:
            self.progress = self._loop.time()  # it has taken the piece before
        while not self._is_closed and (self._piece or self._take_piece()):
            if self.socket is None:
                piece, self._piece = self._piece[:PIECE], self._piece[PIECE:]
                self._transport.write(bytes(piece))
                return
            # A head waits for its payload: the peer is not woken for it alone.
            flags = 0 if self._payload is None else _MORE
            if sent := self._send_now(self._piece, flags):
                self.progress = self._loop.time()
                self._piece = self._piece[sent:]
            if self._piece:
                self._transport.startWriting()  # and be asked again when the kernel takes more
                return
        self._stop_writing()

    def _take_piece(self) -> bool:
        """Go on to what is next: the payload of a head, control frames, the item, the queue."""
        if self._payload is not None:
            self._piece, self._payload = self._payload, None
        elif self._urgent:
            self._piece, self._urgent = memoryview(self._urgent), b""
        elif self._item:
            self._begin(self._item.popleft())
        elif self._queue:
            frames = self._queue.popleft()
            self._waiting -= frames.size
            self._item.extend(frames.wires)
            self._begin(self._item.popleft())
        else:
            return False
        return True

    def _begin(self, wire: Wire) -> None:
        if isinstance(wire, tuple):
            self._piece, self._payload = memoryview(wire[0]), wire[1]
        else:
            self._piece = memoryview(wire)

    def _limit_unsent(self) -> None:
        sock = self._transport.socket
        if _NOT_SENT is not None and sock.family != socket.AF_UNIX:
            # macOS refuses it once the peer is gone, which the next write or read will tell.
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, _NOT_SENT, UNSENT)

    def _stop_writing(self) -> None:
        self.is_writing = False
        self._queue, self._item, self._piece = _NO_FRAMES, _NO_WIRES, _NO_BYTES
        self._transport.unregisterProducer()
        self._release_drained()
        if self._is_closed:
            return
        if self._last is not None:
            self._finish()
        elif self.on_empty is not None and not self.is_writing:
            self.on_empty()

    def stopProducing(self) -> None:
        """The transport is gone."""
        self.lose()

    def _send_now(self, data: bytes | memoryview, flags: int = 0) -> int:
        """Give the kernel what it takes at once; returns how many bytes that were."""
        if self.socket is None or self._is_closed:
            return 0
        try:
            sent: int = self.socket.send(data, flags)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self.lose()
            self._transport.abortConnection()
            return len(data)
        return sent

    def _start_writing(self, wires: Sequence[Wire] = ()) -> None:
        self.is_writing = True
        self.progress = self._loop.time()
        self._queue, self._item = deque(), deque(wires)
        self._transport.registerProducer(self, False)

    def _finish(self) -> None:
        last, self._last = self._last, None
        assert last is not None
        self._is_closed = True
        last()

    async def _wait_drained(self, frames: Frames | None) -> None:
        future = self._loop.create_future()
        self._drained.append((future, frames))
        await future

    def _release_drained(self) -> None:
        waiting, self._drained = self._drained, []
        for future, frames in waiting:
            if future.done():
                continue  # whoever waited is gone
            if frames is not None and self.is_writing and not self._is_closed:
                self._drained.append((future, frames))  # another one came first
                continue
            future.set_result(None)
            if frames is not None:
                self.put(frames)

    @property
    def _patience(self) -> float:
        return CLOSE_PATIENCE if self.stall_timeout is None else self.stall_timeout

    def _check_progress(self) -> None:
        """The socket may have taken nothing for too long, while something waits or it closes."""
        self._watch = None
        is_closing = self._last is not None
        if self._is_closed or not (is_closing or (self._queue and self.stall_timeout)):
            return
        left = self.progress + self._patience - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._check_progress)
        elif is_closing:
            self._cut()
        else:
            self._on_slow()

    def _cut(self) -> None:
        if not self._is_closed:
            self._transport.abortConnection()
