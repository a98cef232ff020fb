"""The cookie that keeps a browser signed in."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from rest_framework_simplejwt.settings import api_settings

NAME = "realtime_refresh"


def read_cookie(request: HttpRequest) -> str | None:
    """The refresh token that this browser holds, or None."""
    return request.COOKIES.get(NAME) or None


def set_cookie(request: HttpRequest, response: HttpResponseBase, refresh: str) -> None:
    """Hand the browser a refresh token, for as long as that is valid."""
    response.set_cookie(
        NAME, refresh, max_age=api_settings.REFRESH_TOKEN_LIFETIME, **_attributes(request)
    )


def clear_cookie(request: HttpRequest, response: HttpResponseBase) -> None:
    """Take the refresh token away. A browser replaces a cookie only by one that is alike."""
    response.set_cookie(NAME, "", max_age=0, **_attributes(request))


def _attributes(request: HttpRequest) -> dict[str, Any]:
    return {
        # The folder of the three paths.
        "path": reverse("browser:refresh").removesuffix("refresh/"),
        "httponly": True,
        "samesite": "Strict",
        "secure": request.is_secure() or settings.SESSION_COOKIE_SECURE,
    }
