"""System checks: keys and rates that are wrong are named before anything runs."""

import time
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from rest_framework_simplejwt.settings import api_settings as jwt_settings

from accounts.keys import get_keys
from accounts.throttles import get_rates, parse_rate


@register("accounts")
def check_keys(**_: Any) -> list[CheckMessage]:
    """The keys of tokens."""
    try:
        keys = get_keys()
    except ImproperlyConfigured as error:
        hint = "docs/tokens.md says which keys there are, and how to make and rotate them."
        return [Error(str(error), hint=hint, id="accounts.E001")]
    if keys.previous is not None and keys.previous.until <= time.time():
        return [
            Warning(
                "JWT_PREVIOUS_KEY_UNTIL has passed: no token of the previous key is accepted.",
                hint="Take JWT_PREVIOUS_KEY and its date out of the settings.",
                id="accounts.W001",
            )
        ]
    return []


@register("accounts")
def check_times(**_: Any) -> list[CheckMessage]:
    """How long tokens last."""
    times = {
        "JWT_ACCESS_SECONDS": jwt_settings.ACCESS_TOKEN_LIFETIME.total_seconds() > 0,
        "JWT_REFRESH_DAYS": jwt_settings.REFRESH_TOKEN_LIFETIME.total_seconds() > 0,
        "JWT_REUSE_GRACE_SECONDS": settings.JWT_REUSE_GRACE_SECONDS >= 0,
    }
    return [
        Error(f"{name} is too small.", hint="Give it a time above 0.", id="accounts.E003")
        for name, is_right in times.items()
        if not is_right
    ]


@register("accounts")
def check_rates(**_: Any) -> list[CheckMessage]:
    """How many calls about tokens an address may make."""
    problems: list[CheckMessage] = []
    for scope, rate in get_rates().items():
        try:
            parse_rate(str(rate))
        except ValueError:
            problems.append(
                Error(
                    f"The rate {rate!r} of {scope!r} is none.",
                    hint="Write it like 10/min: a number, then s, min, h or d.",
                    id="accounts.E002",
                )
            )
    return problems


@register("accounts", deploy=True)
def check_trusted_origins(**_: Any) -> list[CheckMessage]:
    """Whose pages may send forms with the cookies of who is signed in to the admin."""
    return [
        Warning(
            f"CSRF_TRUSTED_ORIGINS has a wildcard: {origin}",
            hint="Every page of such a host can act as whoever is signed in to the admin: name "
            "the hosts one by one, or none. Who may connect is ALLOWED_ORIGINS.",
            id="accounts.W002",
        )
        for origin in settings.CSRF_TRUSTED_ORIGINS
        if "*" in origin
    ]
