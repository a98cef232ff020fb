"""The history of a single process, in its memory: bounded in every direction."""

import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import replace

from realtime.conf import Settings
from realtime.core.entries import Body
from realtime.core.errors import Unavailable
from realtime.core.topics import Topic
from realtime.history.base import (
    HEAD_BYTES,
    ID_MEMORY,
    PAGE_BYTES,
    Accepted,
    Batch,
    History,
    Item,
    Page,
    Size,
    Top,
)

# What one remembered id takes, about.
ID_BYTES = 200


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

    async def read_heads(self, topic: Topic, *, after: int, limit: int) -> Page:
        page = await self.read(topic, after=after, limit=limit)
        heads = [memoryview(body)[:HEAD_BYTES] for body in page.bodies]
        return replace(page, bodies=heads)

    async def read_tops(self, topics: Sequence[Topic]) -> list[Top]:
        return [Top(log.epoch, log.top) for log in map(self._open, topics)]

    async def measure(self, topics: Sequence[Topic]) -> list[Size]:
        return [self._measure(topic) for topic in topics]

    async def renew_epoch(self, topic: Topic, *, lost: str) -> None:
        log = self._logs.get(topic)
        if log is not None and log.epoch == lost:
            self._bytes -= log.size
            self._logs[topic] = _Log()

    async def close(self) -> None:
        self._logs.clear()
        self._bytes = 0

    def _append(self, batch: Batch) -> Accepted:
        now = time.monotonic()
        log = self._open(batch.topic)
        self._bytes -= log.expire(now)
        offsets, duplicates = [], set()
        for index, item in enumerate(batch.items):
            known = log.ids.get(item.id) if item.id else None
            if known is not None:
                duplicates.add(index)
                offsets.append(known[0])
                continue
            before = log.size
            log.append(item, batch, now)
            self._bytes += log.size - before
            offsets.append(log.top)
        log.expires = now + batch.namespace.history_ttl
        self._evict(keep=log)
        return Accepted(log.epoch, offsets, frozenset(duplicates), log.first)

    def _measure(self, topic: Topic) -> Size:
        log = self._logs.get(topic)
        if log is None:
            return Size(0, 0)
        self._bytes -= log.expire(time.monotonic())
        return Size(len(log.bodies), log.bytes)

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
            self._bytes -= log.size


class _Log:
    """One topic's publications. `size` is what they and their ids take, in bytes."""

    def __init__(self) -> None:
        self.epoch = uuid.uuid4().hex[:12]
        self.top = 0
        self.bodies: deque[Body] = deque()
        self.bytes = 0
        self.expires = float("inf")
        self.ids: OrderedDict[str, tuple[int, float]] = OrderedDict()

    @property
    def first(self) -> int:
        return self.top - len(self.bodies) + 1

    @property
    def size(self) -> int:
        return self.bytes + ID_BYTES * len(self.ids)

    def append(self, item: Item, batch: Batch, now: float) -> None:
        """Add one and trim."""
        self.top += 1
        self.bodies.append(item.body)
        self.bytes += len(item.body)
        if item.id:
            self.ids[item.id] = (self.top, now)
        while len(self.bodies) > 1 and (
            len(self.bodies) > batch.namespace.history_size
            or self.bytes > batch.namespace.history_bytes
        ):
            self.bytes -= len(self.bodies.popleft())

    def expire(self, now: float) -> int:
        """Drop old ids, and everything if the topic has been quiet for its time; returns the
        bytes dropped."""
        before = self.size
        while self.ids and next(iter(self.ids.values()))[1] < now - ID_MEMORY:
            self.ids.popitem(last=False)
        if now >= self.expires:
            self.bytes = 0
            self.bodies.clear()
        return before - self.size

    def read(self, *, after: int, limit: int) -> Page:
        start = max(after + 1, self.first)
        bodies, size = [], 0
        for index in range(start - self.first, min(len(self.bodies), start - self.first + limit)):
            bodies.append(self.bodies[index])
            size += len(self.bodies[index])
            if size >= PAGE_BYTES:
                break
        links = [b""] * len(bodies)  # a memory never goes back
        return Page(self.epoch, self.first, self.top, start, bodies, links)
