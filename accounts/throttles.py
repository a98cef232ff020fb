"""How often an address may call the token endpoints, and how often it may fail to sign in."""

import time
from abc import ABC, abstractmethod
from typing import NamedTuple

from django.conf import settings
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from accounts.addresses import find_address
from accounts.counts import get_counts
from accounts.lockouts import find_lockout
from accounts.metrics import Reason, Where, count_refusal

# So many calls of an address: with a password, failures among them, and all others.
DEFAULT_RATES = {"sign_in": "60/min", "sign_in_failure": "10/min", "token": "60/min"}

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Rate(NamedTuple):
    """So many in each period."""

    limit: int
    seconds: int


def parse_rate(text: str) -> Rate:
    """Read `10/min`, as REST framework writes rates; raises ValueError."""
    number, _, period = text.partition("/")
    if period[:1] not in _SECONDS or int(number) < 1:
        raise ValueError(text)
    return Rate(int(number), _SECONDS[period[0]])


def get_rates() -> dict[str, str]:
    """The rates of all scopes: `TOKEN_RATES` of Django's settings, and the defaults."""
    return {**DEFAULT_RATES, **getattr(settings, "TOKEN_RATES", {})}


def find_count(request: Request, scope: str) -> tuple[str, Rate]:
    """Under which name this request's address is counted, and the rate of that scope."""
    rate = parse_rate(get_rates()[scope])
    return f"throttle:{scope}:{find_address(request)}", rate


class TokenThrottle(ABC, BaseThrottle):
    """Refusals are counted, and say how long to wait. `view.where` is what they are counted as."""

    reason: Reason = "rate_limited"
    seconds_left: float | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Whether this call may be made."""
        wait = self.find_wait(request, view)
        if wait is None:
            return True
        self.seconds_left = max(wait, 1.0)
        where: Where = getattr(view, "where", "token")
        count_refusal(where, self.reason)
        return False

    def wait(self) -> float | None:
        """For `Retry-After`, in seconds."""
        return self.seconds_left

    @abstractmethod
    def find_wait(self, request: Request, view: APIView) -> float | None:
        """How long to wait, in seconds; None where the call may be made."""


class CallThrottle(TokenThrottle):
    """Bounds all calls of an address, by the rate of `view.throttle_scope`."""

    def find_wait(self, request: Request, view: APIView) -> float | None:
        """Counts this call as well."""
        scope: str = view.throttle_scope  # type: ignore[attr-defined]  # of TokenView
        name, rate = find_count(request, scope)
        count = get_counts().add(name, seconds=rate.seconds)
        return count.ends_at - time.time() if count.number > rate.limit else None


class FailureThrottle(TokenThrottle):
    """Bounds the failures of an address: after those, not even the right password is looked at."""

    def find_wait(self, request: Request, view: APIView) -> float | None:
        """Counts nothing: `note_failure` does."""
        name, rate = find_count(request, "sign_in_failure")
        count = get_counts().read(name, seconds=rate.seconds)
        return count.ends_at - time.time() if count.number >= rate.limit else None


class LockoutThrottle(TokenThrottle):
    """An address that is locked out of the admin cannot go on here."""

    reason: Reason = "locked_out"

    def find_wait(self, request: Request, view: APIView) -> float | None:
        """See `accounts.lockouts`."""
        return find_lockout(request._request)


def check_failures(request: Request) -> None:
    """Raise Throttled where the address of this request may not try a password now."""
    throttle = FailureThrottle()
    if not throttle.allow_request(request, request.parser_context["view"]):
        raise Throttled(throttle.wait())


def note_failure(request: Request) -> None:
    """Count a wrong username or password."""
    name, rate = find_count(request, "sign_in_failure")
    get_counts().add(name, seconds=rate.seconds)
