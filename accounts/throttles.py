"""How often the token endpoints may be called, and how often a sign-in may fail."""

import hashlib
import time
from abc import ABC, abstractmethod
from typing import NamedTuple

from django.conf import settings
from django.http import HttpRequest
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


def read_rate(scope: str) -> Rate:
    """The rate of that name."""
    return parse_rate(get_rates()[scope])


def count_attempt(subject: str | None, scope: str) -> float | None:
    """One more call of an address, or of a sign-in; how long to wait where it is one too many."""
    rate = read_rate(scope)
    count = get_counts().add(f"throttle:{scope}:{subject}", seconds=rate.seconds)
    return count.ends_at - time.time() if count.number > rate.limit else None


def _name_failures(request: HttpRequest | Request, username: str) -> str:
    """Failures are counted for each user name that an address tries.

    So one who fails keeps nobody out who shares the address and has another name.
    """
    digest = hashlib.sha256(username.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"throttle:sign_in_failure:{find_address(request)}:{digest}"


class Attempt(NamedTuple):
    """What a call tries: a user name with a password, or a token of that sign-in."""

    username: str = ""
    sid: str | None = None


def find_attempt(view: APIView) -> Attempt:
    """What the call tries."""
    attempt: Attempt = view.attempt  # type: ignore[attr-defined]  # of TokenView
    return attempt


class TokenThrottle(ABC, BaseThrottle):
    """Refusals are counted, and say how long to wait. `view.where` is what they are counted as.

    `view.attempt` is what the call has to be counted for; it is known when the body has been read.
    """

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
    """Bounds the calls with a token of one sign-in, and all others of an address.

    The rate is that of `view.throttle_scope`. Who sends what was never signed here takes nothing
    from those who share the address and have a token.
    """

    def find_wait(self, request: Request, view: APIView) -> float | None:
        """Counts this call as well."""
        scope: str = view.throttle_scope  # type: ignore[attr-defined]  # of TokenView
        return count_attempt(find_attempt(view).sid or find_address(request), scope)


class FailureThrottle(TokenThrottle):
    """Bounds the failures of an address with a user name.

    After those, not even the right password is looked at.
    """

    def find_wait(self, request: Request, view: APIView) -> float | None:
        """Counts nothing: `note_failure` does."""
        rate = read_rate("sign_in_failure")
        name = _name_failures(request, find_attempt(view).username)
        count = get_counts().read(name, seconds=rate.seconds)
        return count.ends_at - time.time() if count.number >= rate.limit else None


class LockoutThrottle(TokenThrottle):
    """An address that is locked out of the admin with a user name cannot go on here with it."""

    reason: Reason = "locked_out"

    def find_wait(self, request: Request, view: APIView) -> float | None:
        """See `accounts.lockouts`."""
        return find_lockout(request._request, find_attempt(view).username)


def check_failures(request: Request) -> None:
    """Raise Throttled where the address of this request may not try this user name now."""
    throttle = FailureThrottle()
    if not throttle.allow_request(request, request.parser_context["view"]):
        raise Throttled(throttle.wait())


def note_failure(request: Request) -> None:
    """Count a wrong username or password."""
    username = find_attempt(request.parser_context["view"]).username
    seconds = read_rate("sign_in_failure").seconds
    get_counts().add(_name_failures(request, username), seconds=seconds)
