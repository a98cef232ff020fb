"""What a process handed on last, so that those who come back for it need no read.

One run of publications for each topic, without holes, up to the last one; all runs together
are bounded, and the topic that was quiet longest goes first.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from itertools import islice

from realtime.core.entries import Body

# What one topic may keep.
MAX_ENTRIES = 1000
MAX_BYTES = 1024 * 1024
# What an entry takes besides its body, about; measured with CPython 3.11.
ENTRY_BYTES = 150

Entry = tuple[Body, bytes]  # body, link


class Recent:
    """The runs of all topics: they take `max_bytes` at most (and one publication at least)."""

    def __init__(self, *, max_bytes: int) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes
        self._runs: OrderedDict[Hashable, _Run] = OrderedDict()

    def add(
        self, topic: Hashable, *, epoch: str, first: int, entries: Sequence[Entry], now: float
    ) -> None:
        """Take publications with the offsets `first`, …, handed on at the time `now` (s)."""
        run = self._runs.get(topic)
        if run is None or run.epoch != epoch or run.top != first - 1:
            self.forget(topic)
            run = self._runs[topic] = _Run(epoch, first - 1)
        self.bytes += run.append(entries)
        run.time = now
        self._runs.move_to_end(topic)
        self._evict()

    def extend_back(
        self, topic: Hashable, *, epoch: str, first: int, entries: Sequence[Entry]
    ) -> None:
        """Take older publications, which were read; of use only right before what is here."""
        run = self._runs.get(topic)
        if run and run.epoch == epoch and first < run.first <= first + len(entries):
            self.bytes += run.prepend(entries[: run.first - first])
            self._evict()

    def read(
        self, topic: Hashable, *, epoch: str, after: int, limit: int, max_bytes: int, since: float
    ) -> list[Entry] | None:
        """Up to `limit` publications after an offset, or None where they have to be read.

        A page ends with the publication that takes it over `max_bytes`. What was handed on
        before the time `since` (s) may have expired and counts for nothing.
        """
        run = self._runs.get(topic)
        if run is None or run.epoch != epoch or run.time < since:
            return None
        if not run.first - 1 <= after <= run.top:
            return None
        self._runs.move_to_end(topic)
        return run.read(after=after, limit=limit, max_bytes=max_bytes)

    def forget(self, topic: Hashable) -> None:
        """Drop a topic's run."""
        run = self._runs.pop(topic, None)
        if run is not None:
            self.bytes -= run.bytes

    def _evict(self) -> None:
        while self.bytes > self._max_bytes and len(self._runs) > 1:
            self.forget(next(iter(self._runs)))


class _Run:
    """The last publications of one topic."""

    def __init__(self, epoch: str, top: int) -> None:
        self.epoch = epoch
        self.top = top
        self.time = 0.0
        self.bytes = 0
        self._entries: deque[Entry] = deque()

    @property
    def first(self) -> int:
        return self.top - len(self._entries) + 1

    def append(self, entries: Sequence[Entry]) -> int:
        """Returns by how many bytes the run grew."""
        before = self.bytes
        self.top += len(entries)
        self._entries.extend(entries)
        self.bytes += sum(len(body) for body, _ in entries) + ENTRY_BYTES * len(entries)
        while len(self._entries) > 1 and (
            len(self._entries) > MAX_ENTRIES or self.bytes > MAX_BYTES
        ):
            self.bytes -= len(self._entries.popleft()[0]) + ENTRY_BYTES
        return self.bytes - before

    def prepend(self, entries: Sequence[Entry]) -> int:
        """Returns by how many bytes the run grew; the oldest are left out where it is full."""
        before = self.bytes
        for entry in reversed(entries):
            size = len(entry[0]) + ENTRY_BYTES
            if len(self._entries) >= MAX_ENTRIES or self.bytes + size > MAX_BYTES:
                break
            self._entries.appendleft(entry)
            self.bytes += size
        return self.bytes - before

    def read(self, *, after: int, limit: int, max_bytes: int) -> list[Entry]:
        page: list[Entry] = []
        size, skipped = 0, after + 1 - self.first
        for entry in islice(self._entries, skipped, skipped + limit):
            page.append(entry)
            size += len(entry[0])
            if size >= max_bytes:
                break
        return page
