"""How often something may happen: token buckets, and tallies of the last while."""

from collections import deque


class TokenBucket:
    """Refills at `rate` events a second up to `burst`; time is in seconds, from any clock."""

    __slots__ = ("_burst", "_left", "_rate", "_updated")

    def __init__(self, *, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._updated = now

    def take(self, now: float) -> bool:
        """Take one event out; False where the bucket is empty."""
        self._refill(now)
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def spend(self, now: float, *, most_debt: float) -> None:
        """Take one event out that has happened already; it may leave a debt of so many."""
        self._refill(now)
        self._left = max(self._left - 1, -most_debt)

    def find_wait(self, now: float) -> float:
        """Seconds until one event can be taken."""
        self._refill(now)
        return max(0.0, (1 - self._left) / self._rate)

    def _refill(self, now: float) -> None:
        self._left = min(self._burst, self._left + (now - self._updated) * self._rate)
        self._updated = now


class Tally:
    """Counts the events of the last `seconds`; small as long as there are none."""

    __slots__ = ("_most", "_seconds", "_times")

    def __init__(self, most: int, *, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._times: deque[float] | None = None

    def overflows(self, now: float) -> bool:
        """Note one more event; whether there were more than `most` in the last `seconds`."""
        if self._times is None:
            self._times = deque(maxlen=self._most)
        overflows = len(self._times) == self._most and self._times[0] > now - self._seconds
        self._times.append(now)
        return overflows
