"""How many handshakes a second a process takes, and how many of those from one address."""

from realtime.core.addresses import group_address
from realtime.core.buckets import TokenBucket
from realtime.core.rates import Rates
from realtime.limits.allowances import BURST_SECONDS

# One address gets this part of the rate: else it could keep all others out.
SHARE = 0.8


class Handshakes:
    """Token buckets: one of the process, and one for each address that came lately."""

    def __init__(self, rate: float, *, now: float) -> None:
        self._all = TokenBucket(rate=rate, burst=rate * BURST_SECONDS, now=now)
        share = max(rate * SHARE, 1)
        self._addresses = Rates(share, burst=share * BURST_SECONDS)

    def take(self, address: str, now: float) -> bool:
        """Count one handshake; False, and none counted for the others, where it is too many."""
        return self._addresses.take(group_address(address), now) and self._all.take(now)
