"""Messages that wait to be read by the application, bounded."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from realtime_client.messages import Message
from realtime_client.positions import Position

# Where an answer is awaited, reading goes on beyond the bound, this many times as far: a handler
# that publishes must not wait for an ack behind messages that only it could read.
EXCESS = 4


@dataclass(frozen=True, slots=True)
class Item:
    """A message, its bytes on the wire, and where a reader stands after it."""

    message: Message
    size: int
    position: Position | None


class Inbox:
    """A queue. It is full from its bound on, until half of it has been read."""

    def __init__(
        self, *, max_count: int, max_bytes: int, on_drained: Callable[[], None] = lambda: None
    ) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._is_full = False
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._end: Exception | None = None
        self._room = asyncio.Event()
        self._on_drained = on_drained  # called when it is not full any more

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be received."""
        return self._is_full

    @property
    def is_overfull(self) -> bool:
        """Whether not even an awaited answer makes up for receiving more."""
        return (
            len(self._items) >= EXCESS * self._max_count or self._bytes >= EXCESS * self._max_bytes
        )

    def put(self, item: Item) -> None:
        """Add a message, whatever the bound."""
        self._items.append(item)
        self._bytes += item.size
        self._is_full |= len(self._items) >= self._max_count or self._bytes >= self._max_bytes
        self._wake_one()

    async def get(self) -> Item:
        """The next message; what is there comes before the end. Raises what ended it."""
        while not self._items:
            if self._end is not None:
                raise self._end
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._wake_one()  # it may have been woken for a message that it will not take
                raise
        item = self._items.popleft()
        self._bytes -= item.size
        if self._items:
            self._wake_one()
        if 2 * len(self._items) <= self._max_count and 2 * self._bytes <= self._max_bytes:
            self._open()
        return item

    async def wait_for_room(self) -> None:
        """Wait until it is not full."""
        while self._is_full:
            self._room.clear()
            await self._room.wait()

    def clear(self) -> None:
        """Forget everything that waits."""
        self._items.clear()
        self._bytes = 0
        self._open()

    def end(self, error: Exception) -> None:
        """Nothing more will come."""
        self._end = error
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def _open(self) -> None:
        if self._is_full:
            self._is_full = False
            self._room.set()
            self._on_drained()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
