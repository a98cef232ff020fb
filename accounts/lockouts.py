"""Guessing at the admin's sign-in page: whoever fails too often is locked out for a while.

A user name is locked out from an address; other names from that address are let in.

django-axes keeps the count, in the database. It counts the failures of the admin alone, those of
the token endpoints are bounded by `accounts.throttles`; but whom it has locked out is refused
there too.
"""

import math
from datetime import timedelta
from typing import Any

from axes.backends import AxesStandaloneBackend
from axes.handlers.database import AxesDatabaseHandler
from axes.handlers.proxy import AxesProxyHandler
from axes.helpers import get_cool_off
from axes.models import AccessAttempt
from django.db.models import Max
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.addresses import find_address
from accounts.metrics import count_refusal


def find_lockout(request: HttpRequest, username: str) -> float | None:
    """For how many more seconds that user name is locked out from the address of this request.

    None where it is not.
    """
    if AxesProxyHandler.is_allowed(request, {"username": username}):
        return None
    attempts = AccessAttempt.objects.filter(ip_address=find_address(request), username=username)
    latest = attempts.aggregate(latest=Max("attempt_time"))["latest"] or timezone.now()
    cool_off: timedelta = get_cool_off(request)
    return (latest + cool_off - timezone.now()).total_seconds()


def answer_locked_out(request: HttpRequest, *_: Any) -> HttpResponse:
    """What somebody at the sign-in page of the admin reads."""
    username = request.POST.get("username", "")
    seconds = max(find_lockout(request, username) or 0.0, 1.0)
    return HttpResponse(
        "Too many failed sign-ins with this user name from your address. "
        f"Please try again in {math.ceil(seconds / 60)} min.",
        status=429,
        content_type="text/plain; charset=utf-8",
        headers={"Retry-After": str(math.ceil(seconds))},
    )


class LockoutBackend(AxesStandaloneBackend):  # type: ignore[misc]
    """Refuses the addresses that are locked out. Code that signs in without a request is ours."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        """Raises PermissionDenied, after which Django asks no other backend."""
        if request is not None:
            super().authenticate(request, **credentials)


class AdminHandler(AxesDatabaseHandler):  # type: ignore[misc]
    """Records the failures at the admin's sign-in page, and no others."""

    def user_login_failed(
        self,
        sender: Any,
        credentials: dict[str, Any],
        request: HttpRequest | None = None,
        **kwargs: Any,
    ) -> None:
        """Django's signal of that name."""
        if request is None or not self.is_admin_request(request):
            return
        was_locked_out = getattr(request, "axes_locked_out", False)  # set by the backend
        count_refusal("admin", "locked_out" if was_locked_out else "credentials")
        super().user_login_failed(sender, credentials, request, **kwargs)
