"""What is counted about signing in, for Prometheus (`GET /metrics`)."""

from typing import Literal

from prometheus_client import Counter

from realtime import errors

Where = Literal["token", "refresh", "rest", "websocket", "admin"]
Reason = Literal["credentials", "invalid", "expired", "reused", "rate_limited", "locked_out"]

AUTH_FAILURES = Counter(
    "realtime_auth_failures",
    "Refusals of a credential: where it was shown, and why",
    ["where", "reason"],
)


class ReusedToken(errors.InvalidToken):
    """A refresh token that had been spent."""


def count_refusal(where: Where, reason: Reason) -> None:
    """Count one."""
    AUTH_FAILURES.labels(where, reason).inc()


def count_bad_token(where: Where, error: errors.InvalidToken) -> None:
    """Count a token that was refused with that error."""
    if isinstance(error, errors.TokenExpired):
        count_refusal(where, "expired")
    else:
        count_refusal(where, "reused" if isinstance(error, ReusedToken) else "invalid")
