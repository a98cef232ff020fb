"""How many events each of many sources may cause, and all together; the rest is counted."""

from collections.abc import Hashable

from realtime.core.buckets import TokenBucket
from realtime.core.rates import MAX_NAMES, Rates

HOUR = 3600.0
# What a source may cause at once: the events of so many seconds.
BURST_SECONDS = 600.0


class Budgets:
    """Rates by source, and one for all together; they are in events an hour, and 0 lifts one."""

    def __init__(self, *, each: float, in_all: float, now: float) -> None:
        rate = each / HOUR
        self._sources = Rates(rate, burst=rate * BURST_SECONDS)
        rate = in_all / HOUR
        burst = max(rate * BURST_SECONDS, 1)
        self._all = TokenBucket(rate=rate, burst=burst, now=now) if rate else None
        self._refused: dict[Hashable, int] = {}
        self._refused_others = 0

    def take(self, source: Hashable, now: float) -> bool:
        """Take one event of a source out; False where that is too many, which is counted."""
        if self._sources.take(source, now) and (self._all is None or self._all.take(now)):
            return True
        if source in self._refused or len(self._refused) < MAX_NAMES:
            self._refused[source] = self._refused.get(source, 0) + 1
        else:
            self._refused_others += 1
        return False

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
