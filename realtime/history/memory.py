"""The history of a single process, in its memory: bounded in every direction.

When it is full, room is made by who holds most: by the least recently used topic of that
publisher. So one publisher alone may fill it, and of several each keeps an equal share.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from realtime.conf import Settings
from realtime.core.errors import Unavailable
from realtime.core.shares import Shares
from realtime.core.topics import Topic
from realtime.history.base import (
    HEAD_BYTES,
    NO_EPOCH,
    Accepted,
    Batch,
    History,
    Page,
    Size,
    Top,
)
from realtime.history.log import Log, make_epoch

# Topics that are held and of which nothing is retained: only their epoch is kept. There are more
# than connections and topics that are just being left; beyond, the one that was asked for longest
# ago gets another epoch.
MAX_EMPTY = 50_000
# So many topics go before others have a turn: of small ones a large publication may need thousands.
EVICTION_STEPS = 50
# Topics that are looked at for one that is mostly its publisher's.
MAX_LOOKS = 100


class MemoryHistory(History):
    """A log for each topic that somebody has published to.

    Whoever published holds the bytes of it, by `Item.publisher`. A topic that is evicted and
    comes back begins a new epoch, which its readers see as a gap.
    """

    def __init__(self, settings: Settings) -> None:
        self._max_topics = settings.memory_history_topics
        self._max_bytes = settings.memory_history_bytes
        self._logs: dict[Topic, Log] = {}
        self._empty: OrderedDict[Topic, str] = OrderedDict()
        self._bytes, self._topics = Shares(), Shares()
        # The topics of each publisher, and when they were used as last seen here.
        self._of: dict[str, OrderedDict[Topic, int]] = {}
        self._uses = 0

    async def append(self, batches: Sequence[Batch]) -> list[Accepted | Unavailable]:
        results: list[Accepted | Unavailable] = []
        for batch in batches:
            accepted = self._append(batch)
            if self._find_exceeded() is not None:
                await self._evict(keep=batch.topic)
                log = self._logs.get(batch.topic)
                if log is not None and log.epoch == accepted.epoch:
                    accepted = replace(accepted, first=log.first)
            results.append(accepted)
        return results

    async def read(self, topic: Topic, *, after: int, limit: int, is_held: bool = False) -> Page:
        log = self._find(topic)
        if log is None:
            epoch = self._name_empty(topic) if is_held else self._empty.get(topic, NO_EPOCH)
            return Page(epoch, 1, 0, after + 1, [], [])
        return log.read(after=after, limit=limit)

    async def read_heads(self, topic: Topic, *, after: int, limit: int) -> Page:
        page = await self.read(topic, after=after, limit=limit)
        heads = [memoryview(body)[:HEAD_BYTES] for body in page.bodies]
        return replace(page, bodies=heads)

    async def read_tops(self, topics: Sequence[Topic]) -> list[Top]:
        return [self._read_top(topic) for topic in topics]

    async def measure(self, topics: Sequence[Topic]) -> list[Size]:
        return [self._measure(topic) for topic in topics]

    async def renew_epoch(self, topic: Topic, *, lost: str) -> None:
        log = self._logs.get(topic)
        if log is not None and log.epoch == lost:
            self._drop(topic)
            self._name_empty(topic)

    async def close(self) -> None:
        for topic in tuple(self._logs):
            self._drop(topic)
        self._empty.clear()

    def _append(self, batch: Batch) -> Accepted:
        now = time.monotonic()
        topic = batch.topic
        log = self._find(topic)
        if log is None:
            log = self._logs[topic] = Log(self._empty.pop(topic, "") or make_epoch())
            self._use(log)
        offsets, duplicates = [], set()
        changes: dict[str, int] = {}
        for index, item in enumerate(batch.items):
            known = log.ids.get(item.id) if item.id and log.ids else None
            if known is not None:
                duplicates.add(index)
                offsets.append(known.offset)
                continue
            log.append(item, batch.namespace, now, changes)
            offsets.append(log.top)
        log.expires = now + batch.namespace.history_ttl
        self._settle(topic, log, changes)
        return Accepted(log.epoch, offsets, frozenset(duplicates), log.first)

    def _read_top(self, topic: Topic) -> Top:
        log = self._logs.get(topic)
        if log is None:
            return Top(self._name_empty(topic), 0)
        self._use(log)
        return Top(log.epoch, log.top)

    def _measure(self, topic: Topic) -> Size:
        log = self._logs.get(topic)
        if log is None:
            return Size(0, 0)
        self._expire(topic, log)
        return Size(len(log.bodies), log.bytes)

    def _find(self, topic: Topic) -> Log | None:
        """The log of a topic, used and without what has expired."""
        log = self._logs.get(topic)
        if log is not None:
            self._use(log)
            self._expire(topic, log)
        return log

    def _use(self, log: Log) -> None:
        self._uses += 1
        log.used = self._uses

    def _name_empty(self, topic: Topic) -> str:
        epoch = self._empty.get(topic)
        if epoch is None:
            epoch = self._empty[topic] = make_epoch()
            if len(self._empty) > MAX_EMPTY:
                self._empty.popitem(last=False)
        else:
            self._empty.move_to_end(topic)
        return epoch

    def _expire(self, topic: Topic, log: Log) -> None:
        changes: dict[str, int] = {}
        log.expire(time.monotonic(), changes)
        if changes:
            self._settle(topic, log, changes)

    def _settle(self, topic: Topic, log: Log, changes: dict[str, int]) -> None:
        """Count what a log has taken and given back, by publisher."""
        for publisher, change in changes.items():
            if not change:
                continue
            self._bytes.add(publisher, change)
            before = log.parts.get(publisher, 0)
            if after := before + change:
                log.parts[publisher] = after
            else:
                del log.parts[publisher]
            if before and after:
                continue
            topics = self._of.setdefault(publisher, OrderedDict())
            if after:
                topics[topic] = log.used
                self._topics.add(publisher, 1)
            else:
                del topics[topic]
                self._topics.add(publisher, -1)
                if not topics:
                    del self._of[publisher]

    def _drop(self, topic: Topic) -> None:
        log = self._logs[topic]
        self._settle(topic, log, {name: -part for name, part in log.parts.items()})
        del self._logs[topic]

    # Eviction

    def _find_exceeded(self) -> Shares | None:
        """What there is too much of."""
        if len(self._logs) > self._max_topics:
            return self._topics
        return self._bytes if self._bytes.total > self._max_bytes else None

    async def _evict(self, *, keep: Topic) -> None:
        """Drop as much as there is too much, but never what `keep` got last."""
        steps = 0
        while (shares := self._find_exceeded()) is not None and self._make_room(shares, keep=keep):
            steps += 1
            if steps % EVICTION_STEPS == 0:
                await asyncio.sleep(0)

    def _make_room(self, shares: Shares, *, keep: Topic) -> bool:
        """Drop something of whoever holds most; False where nothing else is left."""
        holder = shares.find_largest()
        if holder is None:
            return False
        topic = self._pick(holder, keep)
        if topic is None and shares is self._bytes and keep in self._of[holder]:
            changes: dict[str, int] = {}
            log = self._logs[keep]
            excess = self._bytes.total - self._max_bytes
            if log.shrink(excess, changes):
                self._settle(keep, log, changes)
                return True
        topic = topic or self._pick_any(holder, keep)
        if topic is None and (second := shares.find_largest(without=holder)) is not None:
            topic = self._pick(second, keep) or self._pick_any(second, keep)
        if topic is None:
            return False
        self._drop(topic)
        return True

    def _pick(self, holder: str, keep: Topic) -> Topic | None:
        """The least recently used topic that is a publisher's at least by half."""
        topics = self._of[holder]
        for _ in range(min(2 * len(topics), MAX_LOOKS)):
            topic, seen = next(iter(topics.items()))
            log = self._logs[topic]
            if topic != keep and log.used == seen and 2 * log.parts[holder] >= log.size:
                return topic
            topics[topic] = log.used
            topics.move_to_end(topic)
        return None

    def _pick_any(self, holder: str, keep: Topic) -> Topic | None:
        """A topic that a publisher has a part of, be it mostly others'."""
        return next((topic for topic in self._of[holder] if topic != keep), None)
