"""How long to wait before the next attempt: exponential, with full jitter on every delay.

Full jitter spreads clients that lost their connection in the same moment; see
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays between 0 and a bound that grows from `base` to `cap` (seconds) by `factor`."""

    base: float = 1.0
    factor: float = 1.5
    cap: float = 60.0

    def __post_init__(self) -> None:
        if not (0 < self.base < math.inf and 0 < self.cap < math.inf and 1 <= self.factor < 1e6):
            raise ValueError("base and cap have to be above 0, factor 1 or more")

    def bound(self, attempt: int) -> float:
        """The longest delay before a new attempt, after `attempt` (from 0) failed ones."""
        if self.base >= self.cap:
            return self.cap
        if self.factor == 1:
            return self.base
        # Beyond this many attempts the cap holds; the power itself would overflow at last.
        steps = math.log(self.cap / self.base) / math.log(self.factor)
        return self.cap if attempt > steps else min(self.cap, self.base * self.factor**attempt)

    def delay(self, attempt: int, chance: float) -> float:
        """The delay for a random number in [0, 1)."""
        return chance * self.bound(attempt)
