"""Static files, of which a missing one is a page that does not exist, in development too."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from servestatic.middleware import ServeStaticMiddleware
from servestatic.responders import MissingFileError


class StaticFilesMiddleware(ServeStaticMiddleware):  # type: ignore[misc]
    """ServeStatic's, which raises with DEBUG: whoever asks could fill the log with tracebacks."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Serve a file, or go on."""
        try:
            response: HttpResponseBase = await super().__call__(request)
        except MissingFileError:
            response = await self.get_response(request)
        return response
