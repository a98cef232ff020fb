"""How much of a shared history one publisher may take, counted by all instances together.

What somebody's publications take is, for each topic, what they have published there, but no more
than the topic retains in all. So who goes on publishing to topics whose history is full takes no
more than before. The count is in Redis. It is told of changes a few times a second, beside the
publications and never one by one, and is right within a quarter.
"""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from realtime.conf import Settings
from realtime.core.errors import RateLimited, Unavailable
from realtime.core.topics import Topic
from realtime.history.base import SERVER, Accepted, Batch
from realtime.metrics import LIMITED

logger = logging.getLogger("realtime.history")

LIMIT = "history_per_user"
# What a publication takes besides its body.
ENTRY_BYTES = 64
# How often the count is told what is new, and asked again for those who are over it, in seconds.
TELL_DELAY = 0.25
ASK_AGAIN = 5.0
# Less than this many bytes more, or than this part of what was told, need not be told yet.
LEAST = 512
PART = 0.25
# A topic's time is told again after this part of it.
RENEW_PART = 0.1
# Topics in one call; topics of all publishers of which a process knows what it has told. Of one
# that is forgotten the next publication counts as if it was the first.
CALL_TOPICS = 500
MAX_RECORDS = 100_000
MAX_EXHAUSTED = 10_000

# Runs the script, with keys and arguments; raises Unavailable.
Run = Callable[[list[str], list[Any]], Awaitable[Any]]


class _Record:
    """What this process knows of one publisher on one topic, in bytes and seconds."""

    __slots__ = ("is_full", "is_known", "retained", "told", "told_at", "ttl", "untold")

    def __init__(self) -> None:
        self.untold = self.told = self.retained = 0
        self.told_at = self.ttl = 0.0
        self.is_known = self.is_full = False

    def is_worth_telling(self, now: float) -> bool:
        return (
            not self.told_at
            or self.untold > max(LEAST, PART * self.told)
            or now - self.told_at > RENEW_PART * self.ttl
        )


class Quotas:
    """The quotas of all publishers but the server's own code, as one process sees them."""

    def __init__(self, settings: Settings, *, name_key: Callable[[str], str], run: Run) -> None:
        self._most_bytes = settings.history_bytes_per_user
        self._most_topics = settings.history_topics_per_user
        self._keep = max((one.history_ttl for one in settings.namespaces.values()), default=0.0)
        self._name_key = name_key
        self._run = run
        self.is_on = bool(self._most_bytes or self._most_topics)
        # Who is over a quota: which one it is, and when that was asked.
        self.exhausted: OrderedDict[str, tuple[bool, float]] = OrderedDict()
        self._records: OrderedDict[tuple[str, Topic], _Record] = OrderedDict()
        self._waiting: dict[str, dict[Topic, _Record]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._telling: asyncio.Task[None] | None = None

    def note(self, batch: Batch, result: Accepted) -> None:
        """A batch was accepted."""
        sizes: dict[str, int] = {}
        size, last = 0, batch.items[0].publisher  # mostly all are one publisher's
        for index, item in enumerate(batch.items):
            if item.publisher != last:
                sizes[last] = sizes.get(last, 0) + size
                size, last = 0, item.publisher
            if not result.duplicates or index not in result.duplicates:
                size += len(item.body) + ENTRY_BYTES
        sizes[last] = sizes.get(last, 0) + size
        sizes.pop(SERVER, None)
        for publisher, size in sizes.items():
            if not size:
                continue
            record = self._open(publisher, batch.topic)
            record.untold += size
            count = max(result.offsets) - result.first + 1
            record.retained = result.retained + ENTRY_BYTES * count
            record.ttl = batch.namespace.history_ttl
            if record.is_worth_telling(time.monotonic()):
                self._tell_soon(publisher, batch.topic, record)

    def find_refusal(self, publisher: str, topic: Topic) -> RateLimited | None:
        """Why one of the `exhausted` may not publish to this topic now; None where it may."""
        lacks_bytes, asked_at = self.exhausted[publisher]
        record = self._open(publisher, topic)
        if record.is_full or (record.is_known and not lacks_bytes):
            return None
        if not record.is_known or time.monotonic() - asked_at > ASK_AGAIN:
            self._tell_soon(publisher, topic, record)
        LIMITED.labels(LIMIT).inc()
        if lacks_bytes:
            return RateLimited(
                f"what you have published takes {self._most_bytes} bytes of history, the most for "
                "one user: wait until some of it has expired, or publish to a topic whose history "
                "is full of yours"
            )
        return RateLimited(
            f"{self._most_topics} topics keep a history of what you have published, the most for "
            "one user: publish to one of them, or wait until one has expired"
        )

    async def tell(self) -> None:
        """Tell the count what is new, and hear who is over a quota; raises Unavailable."""
        waiting, self._waiting = self._waiting, {}
        try:
            while waiting:
                publisher, topics = next(iter(waiting.items()))
                parts = list(topics.items())
                for start in range(0, len(parts), CALL_TOPICS):
                    await self._tell(publisher, parts[start : start + CALL_TOPICS])
                del waiting[publisher]
        finally:
            for publisher, topics in waiting.items():  # those are told again, or later
                self._waiting.setdefault(publisher, {}).update(topics)

    async def close(self) -> None:
        """Tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])

    def _open(self, publisher: str, topic: Topic) -> _Record:
        key = (publisher, topic)
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record()
            if len(self._records) > MAX_RECORDS:
                self._records.popitem(last=False)
        else:
            self._records.move_to_end(key)
        return record

    def _tell_soon(self, publisher: str, topic: Topic, record: _Record) -> None:
        self._waiting.setdefault(publisher, {})[topic] = record
        if self._timer is None and self._telling is None:
            self._wait(TELL_DELAY)

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._telling = asyncio.get_running_loop().create_task(self._tell_all())

    async def _tell_all(self) -> None:
        try:
            await self.tell()
        except Unavailable as error:
            logger.warning("what publishers take is not counted: %s", error.__cause__ or error)
            self._wait(ASK_AGAIN)
        else:
            if self._waiting:
                self._wait(TELL_DELAY)
        finally:
            self._telling = None

    async def _tell(self, publisher: str, part: Sequence[tuple[Topic, _Record]]) -> None:
        key = self._name_key(publisher)
        told = [(topic, record, record.untold) for topic, record in part]
        arguments: list[Any] = [math.ceil(self._keep) + 60]
        for topic, record, untold in told:
            ttl = math.ceil(record.ttl) if untold else 0
            arguments += (str(topic), untold, record.retained, ttl)
        total, topics, *states = await self._run([f"{key}:held", f"{key}:topics"], arguments)
        now = time.monotonic()
        for (_, record, untold), state in zip(told, states, strict=True):
            record.untold -= untold
            record.told = min(record.told + untold, record.retained)
            record.told_at = now if untold else record.told_at
            record.is_known, record.is_full = state > 0, state == 2
        self.exhausted.pop(publisher, None)
        lacks_bytes = 0 < self._most_bytes < int(total)
        if lacks_bytes or 0 < self._most_topics <= topics:
            self.exhausted[publisher] = (lacks_bytes, now)
            if len(self.exhausted) > MAX_EXHAUSTED:
                self.exhausted.popitem(last=False)
