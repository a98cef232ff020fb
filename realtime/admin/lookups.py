"""Lists of the admin whose address asks for what no database can compare: a list says so."""

import logging
from collections.abc import Awaitable, Callable

from asgiref.sync import markcoroutinefunction
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import ValidationError
from django.db import DataError
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase

logger = logging.getLogger("realtime.admin")

Answer = Callable[[HttpRequest], Awaitable[HttpResponseBase]]

# As a database, its driver and the fields of models refuse a value: a year 99999, an address that
# is none, a number of thirty digits, a chosen row whose key is no key.
_REFUSALS = (DataError, ValueError, OverflowError, ValidationError)


class WrongLookups:
    """Middleware that goes on where Django stops.

    What fails while a list's query is built, Django answers with the list and `?e=1`, since it
    cannot check values of lookups before. What fails when the database is asked is the same fault
    and gets the same answer here.
    """

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Answer) -> None:
        self._get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on."""
        return await self._get_response(request)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseRedirect | None:
        """The way back to the list; None for whatever else went wrong."""
        place = request.resolver_match
        is_list = (
            place is not None
            and place.app_name == "admin"
            and (place.url_name or "").endswith("_changelist")
        )
        if not is_list or not isinstance(exception, _REFUSALS):
            return None
        if ERROR_FLAG in request.GET or not (request.GET or request.method == "POST"):
            return None
        logger.warning(
            "a list of the admin was asked for what cannot be looked up: %s",
            type(exception).__name__,
            extra={"path": request.path},
        )
        return HttpResponseRedirect(f"{request.path}?{ERROR_FLAG}=1")
