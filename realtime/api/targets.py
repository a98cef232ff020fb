"""URLs that no view is asked about: with a NUL in them, which PostgreSQL takes for no text."""

from collections.abc import Awaitable, Callable

from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import async_only_middleware

from realtime.api.errors import answer_bad_request, answer_not_found

Answer = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


@async_only_middleware
def refuse_nul(get_response: Answer) -> Answer:
    """Nothing has such a path (404), and no parameter such a value (400).

    The REST API reads its queries by itself, and says which parameter is wrong.
    """

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        if "\0" in request.path_info:
            return answer_not_found(request, Http404("there is no such path"))
        is_api = request.path_info.startswith("/api/")
        if not is_api and "%00" in request.META.get("QUERY_STRING", ""):
            return answer_bad_request(request, BadRequest("a query has the character NUL"))
        return await get_response(request)

    return middleware
