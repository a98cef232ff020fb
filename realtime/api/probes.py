"""Who asks from nearby, by address and without TLS: probes of health, and Prometheus."""

from collections.abc import Awaitable, Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import async_only_middleware

from realtime.api.health import live, ready
from realtime.api.metrics import metrics

Answer = Callable[[HttpRequest], Awaitable[HttpResponseBase]]

PROBES: dict[str, Callable[[HttpRequest], Awaitable[HttpResponse]]] = {
    "/livez": live,
    "/readyz": ready,
    "/metrics": metrics,
}


@async_only_middleware
def answer_probes(get_response: Answer) -> Answer:
    """Answer these paths before anything looks at the Host, or redirects to TLS."""

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        view = PROBES.get(request.path_info)
        if view is None:
            return await get_response(request)
        response = await view(request)
        response["Content-Length"] = str(len(response.content))  # as CommonMiddleware does
        return response

    return middleware
