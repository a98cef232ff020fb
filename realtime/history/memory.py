"""The history of a single process, in its memory: bounded in every direction."""

import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Sequence

from realtime.conf import Settings
from realtime.core.errors import Unavailable
from realtime.core.positions import Position
from realtime.core.topics import Topic
from realtime.history.base import ID_MEMORY, PAGE_BYTES, Accepted, Batch, History, Page


class MemoryHistory(History):
    """Bounded deques, least recently used topics evicted first (a topic that comes back then
    begins a new epoch, which its readers see as a gap)."""

    def __init__(self, settings: Settings) -> None:
        self._max_topics = settings.memory_history_topics
        self._max_bytes = settings.memory_history_bytes
        self._logs: OrderedDict[Topic, _Log] = OrderedDict()
        self._bytes = 0

    async def append(self, batches: Sequence[Batch]) -> list[Accepted | Unavailable]:
        return [self._append(batch) for batch in batches]

    async def read(self, topic: Topic, *, after: int, limit: int) -> Page:
        log = self._open(topic)
        self._bytes -= log.expire(time.monotonic())
        return log.read(after=after, limit=limit)

    async def read_tops(self, topics: Sequence[Topic]) -> list[Position]:
        return [Position(log.epoch, log.top) for log in map(self._open, topics)]

    async def close(self) -> None:
        self._logs.clear()
        self._bytes = 0

    def _append(self, batch: Batch) -> Accepted:
        now = time.monotonic()
        log = self._open(batch.topic)
        self._bytes -= log.expire(now)
        offsets, duplicates = [], set()
        for index, item in enumerate(batch.items):
            known = log.find_id(item.id, now) if item.id else None
            if known is not None:
                duplicates.add(index)
                offsets.append(known)
                continue
            self._bytes += len(item.body) - log.append(item.body, batch)
            offsets.append(log.top)
            if item.id:
                log.ids[item.id] = (log.top, now)
        log.expires = now + batch.namespace.history_ttl
        self._evict(keep=log)
        return Accepted(log.epoch, offsets, frozenset(duplicates), log.first)

    def _open(self, topic: Topic) -> "_Log":
        log = self._logs.get(topic)
        if log is None:
            log = self._logs[topic] = _Log()
            self._evict(keep=log)
        self._logs.move_to_end(topic)
        return log

    def _evict(self, *, keep: "_Log") -> None:
        while len(self._logs) > self._max_topics or self._bytes > self._max_bytes:
            topic, log = next(iter(self._logs.items()))
            if log is keep:
                return
            del self._logs[topic]
            self._bytes -= log.bytes


class _Log:
    """One topic's publications."""

    def __init__(self) -> None:
        self.epoch = uuid.uuid4().hex[:12]
        self.top = 0
        self.bodies: deque[bytes] = deque()
        self.bytes = 0
        self.expires = float("inf")
        self.ids: OrderedDict[str, tuple[int, float]] = OrderedDict()

    @property
    def first(self) -> int:
        return self.top - len(self.bodies) + 1

    def append(self, body: bytes, batch: Batch) -> int:
        """Add one and trim; returns the bytes that were trimmed."""
        self.top += 1
        self.bodies.append(body)
        self.bytes += len(body)
        trimmed = 0
        while len(self.bodies) > 1 and (
            len(self.bodies) > batch.namespace.history_size
            or self.bytes > batch.namespace.history_bytes
        ):
            size = len(self.bodies.popleft())
            self.bytes -= size
            trimmed += size
        return trimmed

    def expire(self, now: float) -> int:
        """Drop everything if the topic has been quiet for its time; returns the bytes dropped."""
        if now < self.expires:
            return 0
        dropped, self.bytes = self.bytes, 0
        self.bodies.clear()
        return dropped

    def find_id(self, id: str, now: float) -> int | None:
        """The offset that an id got within the last minutes."""
        while self.ids and next(iter(self.ids.values()))[1] < now - ID_MEMORY:
            self.ids.popitem(last=False)
        known = self.ids.get(id)
        return known[0] if known else None

    def read(self, *, after: int, limit: int) -> Page:
        start = max(after + 1, self.first)
        bodies, size = [], 0
        for index in range(start - self.first, min(len(self.bodies), start - self.first + limit)):
            bodies.append(self.bodies[index])
            size += len(self.bodies[index])
            if size >= PAGE_BYTES:
                break
        return Page(self.epoch, self.first, self.top, start, bodies)
