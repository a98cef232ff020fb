"""What waits to be written to one socket: bounded, in order, whole items only.

This is the outbox of the plain ASGI transport. A writer task exists only while something waits;
the publisher never waits for a subscriber.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from autobahn.exception import Disconnected, PayloadExceededError

from realtime.core.close_codes import RESERVED_CODE_SHIFT, CloseCode
from realtime.frames import Event, Frames

logger = logging.getLogger("realtime.outbox")

Send = Callable[[Event], Awaitable[None]]

# After a slow session was told to go, its connection is cut this many seconds later.
ABORT_DELAY = 5.0
# A session that ends is cut when its socket has taken nothing for as long, in seconds, where the
# session itself sets no such time.
CLOSE_PATIENCE = 10.0

# Where a server that writes its sockets itself puts its own outbox, in a scope's `extensions`.
EXTENSION = "realtime.outbox"


class Outbox:
    """The queue in front of one session's socket.

    `limit` bounds the bytes that wait behind the item being written; an item that finds nothing
    waiting is always taken. `on_slow` is called when an item finds no room (and is dropped), or
    when the socket has taken nothing for `stall_timeout` seconds (None: never) while something
    waits; `on_empty` when the last item was written; `on_abort` when the connection has to be
    cut, since it takes not even what comes before its close.
    """

    def __init__(
        self,
        send: Send,
        *,
        limit: int,
        stall_timeout: float | None,
        on_slow: Callable[[], None],
        on_abort: Callable[[], None],
    ) -> None:
        self.messages = 0
        self.bytes = 0
        self.skipped = 0  # publications that newer ones took the place of
        self.on_empty: Callable[[], None] | None = None
        self._send = send
        self._limit = limit
        self.stall_timeout = stall_timeout
        self._on_slow = on_slow
        self._on_abort = on_abort
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Frames] = deque()
        self._waiting = 0
        self._writer: asyncio.Task[None] | None = None
        self._progress = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._cutting: asyncio.TimerHandle | None = None
        # Those who wait for it to be empty, and the item that one of them puts then.
        self._drained: list[tuple[asyncio.Future[None], Frames | None]] = []
        self._close: Event | None = None
        self._is_closed = False

    @property
    def is_writing(self) -> bool:
        """Whether something waits or is being written."""
        return self._writer is not None

    @property
    def waiting(self) -> int:
        """The bytes that wait behind the item being written."""
        return self._waiting

    def has_room(self, size: int) -> bool:
        """Whether an item of that many bytes would be taken."""
        return not self._queue or self._waiting + size <= self._limit

    def put(self, frames: Frames) -> None:
        """Queue an item; where it finds no room it is dropped, and `on_slow` decides."""
        if self._close is not None or self._is_closed:
            return
        if self._writer is None:
            self._progress = self._loop.time()
            self._writer = self._loop.create_task(self._write(frames))
            return
        if not self.has_room(frames.size):
            self._on_slow()
            return
        self._queue.append(frames)
        self._waiting += frames.size
        if self._watch is None and self.stall_timeout is not None:
            self._watch = self._loop.call_later(self.stall_timeout, self._check_progress)

    async def drained(self) -> None:
        """Wait until nothing waits and nothing is being written (or the outbox is closed)."""
        if self._writer is not None and not self._is_closed:
            await self._wait_drained(None)

    async def put_when_drained(self, frames: Frames) -> None:
        """Put an item in the moment in which nothing waits: so a long one makes nobody slow."""
        if self._writer is not None and not self._is_closed:
            await self._wait_drained(frames)
        else:
            self.put(frames)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Close the socket after what waits; later items are dropped.

        Where the socket makes no progress with what waits the connection is cut.
        """
        if self._close is not None or self._is_closed:
            return
        self._close = _build_close(code, reason)
        if self._writer is None:
            self._writer = self._loop.create_task(self._write(None))
        elif self._watch is None:
            self._watch = self._loop.call_later(self._patience, self._check_progress)

    def abort(self, code: CloseCode, reason: str = "") -> None:
        """Drop what waits, finish the item being written, close; cut the connection if need be."""
        self._queue.clear()
        self._waiting = 0
        self.close(code, reason)
        if self._cutting is None:
            self._cutting = self._loop.call_later(ABORT_DELAY, self._cut)

    def discard(self) -> None:
        """The socket is gone: write nothing more."""
        self._is_closed = True
        self._queue.clear()
        for timer in (self._watch, self._cutting):
            if timer is not None:
                timer.cancel()
        self._release_drained()

    async def _write(self, frames: Frames | None) -> None:
        try:
            while frames is not None and not self._is_closed:
                for event in frames.events:
                    await self._send(event)
                    self._progress = self._loop.time()
                self.messages += len(frames.messages)
                self.bytes += frames.size
                if not self._queue and self._close is None:
                    # First: `on_empty` may put something each time, without an end.
                    self._release_drained()
                if not self._queue and self.on_empty is not None:
                    self.on_empty()
                frames = self._take()
            if self._close is not None and not self._is_closed:
                self._is_closed = True
                await self._send(self._close)
        except (OSError, Disconnected):
            self.discard()  # the peer went away; the server reports it as a disconnect
        except PayloadExceededError as error:
            # Going on would leave a hole in what the client gets.
            logger.error("daphne's --websocket-max-message-size is too small: %s", error)
            self.discard()
            await self._send(_build_close(CloseCode.INTERNAL_ERROR))
        finally:
            self._writer = None
            self._release_drained()

    def _take(self) -> Frames | None:
        if not self._queue:
            return None
        frames = self._queue.popleft()
        self._waiting -= frames.size
        return frames

    async def _wait_drained(self, frames: Frames | None) -> None:
        future = self._loop.create_future()
        self._drained.append((future, frames))
        await future

    def _release_drained(self) -> None:
        waiting, self._drained = self._drained, []
        for future, frames in waiting:
            if future.done():
                continue  # whoever waited is gone
            if frames is not None and self._queue and self._writer is not None:
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
        is_closing = self._close is not None
        if self._is_closed or not (is_closing or (self._queue and self.stall_timeout)):
            return
        left = self._progress + self._patience - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._check_progress)
        elif is_closing:
            self._cut()
        else:
            self._on_slow()

    def _cut(self) -> None:
        if not self._is_closed:
            self._on_abort()


def _build_close(code: CloseCode, reason: str = "") -> Event:
    number = int(code)
    if code is not CloseCode.NORMAL and number < 3000:
        number += RESERVED_CODE_SHIFT  # daphne lets an application send no code below 3000
    return {"type": "websocket.close", "code": number, "reason": reason}
