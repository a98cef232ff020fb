"""How many events each of many sources may cause, and all together; the rest is counted."""

from collections import OrderedDict
from collections.abc import Hashable

from realtime.core.buckets import TokenBucket

HOUR = 3600.0
# What a source may cause at once: the events of so many seconds.
BURST_SECONDS = 600.0
# Sources that are told apart; the one that was quiet longest is forgotten, and begins anew.
MAX_SOURCES = 4096


class Budgets:
    """Token buckets by source, and one for all; rates are events an hour, 0 lifts one."""

    def __init__(self, *, each: float, in_all: float, now: float) -> None:
        self._each = each
        self._all = _build_bucket(in_all, now) if in_all else None
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()
        self._refused: dict[Hashable, int] = {}
        self._refused_others = 0

    def take(self, source: Hashable, now: float) -> bool:
        """Take one event of a source out; False where that is too many, which is counted."""
        if self._each:
            bucket = self._buckets.get(source)
            if bucket is None:
                bucket = self._buckets[source] = _build_bucket(self._each, now)
                if len(self._buckets) > MAX_SOURCES:
                    self._buckets.popitem(last=False)
            self._buckets.move_to_end(source)
            if not bucket.take(now):
                return self._refuse(source)
        if self._all is not None and not self._all.take(now):
            return self._refuse(source)
        return True

    @property
    def has_refused(self) -> bool:
        """Whether there is anything for `take_refused()`."""
        return bool(self._refused)

    def take_refused(self, *, most: int) -> tuple[list[tuple[Hashable, int]], int]:
        """What was refused since the last call: so many sources with their counts, the largest
        first, and the count of all others together."""
        refused, self._refused = self._refused, {}
        others, self._refused_others = self._refused_others, 0
        ranked = sorted(refused.items(), key=lambda pair: pair[1], reverse=True)
        return ranked[:most], others + sum(count for _, count in ranked[most:])

    def _refuse(self, source: Hashable) -> bool:
        if source in self._refused or len(self._refused) < MAX_SOURCES:
            self._refused[source] = self._refused.get(source, 0) + 1
        else:
            self._refused_others += 1
        return False


def _build_bucket(rate: float, now: float) -> TokenBucket:
    return TokenBucket(rate=rate / HOUR, burst=max(rate / HOUR * BURST_SECONDS, 1), now=now)
