"""How many handshakes a second a process takes, and how many of those from one address."""

from collections import OrderedDict

from realtime.core.addresses import group_address
from realtime.core.buckets import TokenBucket
from realtime.limits.allowances import BURST_SECONDS

# One address gets this part of the rate: else it could keep all others out.
SHARE = 0.8
# Addresses whose handshakes are told apart; who came longest ago is forgotten, and begins anew.
MAX_ADDRESSES = 4096


class Handshakes:
    """Token buckets: one of the process, and one for each address that came lately."""

    def __init__(self, rate: float, *, now: float) -> None:
        self._rate = rate
        self._all = _build_bucket(rate, now)
        self._addresses: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, address: str, now: float) -> bool:
        """Count one handshake; False, and none counted for the others, where it is too many."""
        group = group_address(address)
        bucket = self._addresses.get(group)
        if bucket is None:
            bucket = self._addresses[group] = _build_bucket(max(self._rate * SHARE, 1), now)
            if len(self._addresses) > MAX_ADDRESSES:
                self._addresses.popitem(last=False)
        self._addresses.move_to_end(group)
        return bucket.take(now) and self._all.take(now)


def _build_bucket(rate: float, now: float) -> TokenBucket:
    return TokenBucket(rate=rate, burst=rate * BURST_SECONDS, now=now)
