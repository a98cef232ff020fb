"""How many REST requests a user makes a second, from whatever addresses."""

import threading
import time
from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from realtime.conf import get_settings
from realtime.core.rates import Rates
from realtime.limits.allowances import BURST_SECONDS
from realtime.limits.kinds import Limit
from realtime.metrics import LIMITED

_lock = threading.Lock()  # views run in threads
_rates: Rates | None = None


class UserThrottle(BaseThrottle):
    """Counts every request of somebody signed in; `realtime.gate` counts those of an address."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """Whether this one may be answered."""
        if not request.user.is_authenticated:
            return True
        self._name = str(request.user.pk)
        now = time.monotonic()
        with _lock:
            allowed = _open_rates().take(self._name, now)
            self._wait = 0.0 if allowed else _open_rates().find_wait(self._name, now)
        if not allowed:
            LIMITED.labels(Limit.REQUESTS).inc()
        return allowed

    def wait(self) -> float | None:
        """For `Retry-After`, in seconds."""
        return max(self._wait, 1.0)


def _open_rates() -> Rates:
    global _rates
    rate = get_settings().requests_per_second
    if _rates is None or _rates.rate != rate:
        _rates = Rates(rate, burst=rate * BURST_SECONDS)
    return _rates
