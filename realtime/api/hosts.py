"""Requests that are for another host, and cookies that no database takes, answered with 400."""

import logging
from collections.abc import Awaitable, Callable

from django.core.exceptions import DisallowedHost, SuspiciousOperation
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import async_only_middleware

from realtime.api.errors import answer_bad_request

logger = logging.getLogger("realtime.api.hosts")

MAX_HOST = 100

Answer = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


@async_only_middleware
def refuse_strangers(get_response: Answer) -> Answer:
    """Refuse before anything looks at the Host or at cookies."""

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        try:
            request.get_host()
            _check_cookies(request)
        except DisallowedHost as error:
            host = request.META.get("HTTP_HOST", "")[:MAX_HOST]
            logger.info(
                "request refused: Host is not in ALLOWED_HOSTS",
                extra={"host": host, "address": _find_address(request)},
            )
            return answer_bad_request(request, error)
        except SuspiciousOperation as error:
            logger.info("request refused: %s", error, extra={"address": _find_address(request)})
            return answer_bad_request(request, error)
        return await get_response(request)

    return middleware


def _find_address(request: HttpRequest) -> str:
    address: str = request.META.get("REMOTE_ADDR", "")
    return address


def _check_cookies(request: HttpRequest) -> None:
    # As Python escapes it in quotes. PostgreSQL has no texts with NUL in them.
    if r"\000" in request.META.get("HTTP_COOKIE", ""):
        raise SuspiciousOperation("a cookie has the character NUL")
