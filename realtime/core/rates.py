"""How often something may happen, for each of many names."""

from collections import OrderedDict
from collections.abc import Hashable

from realtime.core.buckets import TokenBucket

# Names that are told apart. The one that came longest ago is forgotten, and begins anew.
MAX_NAMES = 4096


class Rates:
    """A token bucket for each name that came lately; times are in seconds of one clock.

    A rate of 0 lifts the limit.
    """

    def __init__(self, rate: float, *, burst: float) -> None:
        self.rate = rate
        self._burst = max(burst, 1.0)
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    def take(self, name: Hashable, now: float) -> bool:
        """Count one event; False, and none counted, where there were too many."""
        return not self.rate or self._open(name, now).take(now)

    def spend(self, name: Hashable, now: float, *, most_debt: float) -> None:
        """Count one event that has happened already, though it may be one too many."""
        if self.rate:
            self._open(name, now).spend(now, most_debt=most_debt)

    def find_wait(self, name: Hashable, now: float) -> float:
        """Seconds until this name may do it again; 0 where it may now."""
        bucket = self._buckets.get(name)
        return 0.0 if bucket is None else bucket.find_wait(now)

    def _open(self, name: Hashable, now: float) -> TokenBucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = TokenBucket(rate=self.rate, burst=self._burst, now=now)
            self._buckets[name] = bucket
            if len(self._buckets) > MAX_NAMES:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(name)
        return bucket
