"""Requests that no view is asked about, and their answers: 400, or 404 for a path.

These are requests for another host, and those with the character NUL in what a view would look
up: PostgreSQL has no text with NUL in it.
"""

import logging
from collections.abc import Awaitable, Callable

from django.core.exceptions import BadRequest, DisallowedHost
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import async_only_middleware

from realtime.api.errors import answer_bad_request, answer_not_found, is_api

logger = logging.getLogger("realtime.api.screening")

MAX_HOST = 100

Answer = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


@async_only_middleware
def screen_requests(get_response: Answer) -> Answer:
    """Answer such requests; it stands before all that looks at the Host or at cookies."""

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        try:
            request.get_host()
            _check_cookies(request)
            _check_query(request)
        except DisallowedHost as error:
            host = request.META.get("HTTP_HOST", "")[:MAX_HOST]
            logger.info(
                "request refused: Host is not in ALLOWED_HOSTS",
                extra={"host": host, "address": _find_address(request)},
            )
            return answer_bad_request(request, error)
        except BadRequest as error:
            logger.info("request refused: %s", error, extra={"address": _find_address(request)})
            return answer_bad_request(request, error)
        if "\0" in request.path_info:
            return answer_not_found(request, Http404("there is no such path"))
        return await get_response(request)

    return middleware


def _find_address(request: HttpRequest) -> str:
    address: str = request.META.get("REMOTE_ADDR", "")
    return address


def _check_cookies(request: HttpRequest) -> None:
    # As Python writes it in a quoted cookie.
    if r"\000" in request.META.get("HTTP_COOKIE", ""):
        raise BadRequest("a cookie has the character NUL")


def _check_query(request: HttpRequest) -> None:
    # The REST API reads its queries by itself, and says which parameter is wrong.
    if "%00" in request.META.get("QUERY_STRING", "") and not is_api(request):
        raise BadRequest("a query has the character NUL")
