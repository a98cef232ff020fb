from typing import Any

from csp.constants import NONE, SELF
from csp.decorators import csp
from django.http import HttpRequest, HttpResponseBase
from django.views.generic import TemplateView


class HomeView(TemplateView):
    """The page. It is open to all: who may read what is decided by each socket it opens."""

    template_name = "demo/home.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer, with a content policy that allows what this page does and nothing else."""
        respond = csp(build_policy(request))(super().dispatch)
        return respond(request, *args, **kwargs)


def build_policy(request: HttpRequest) -> dict[str, list[str]]:
    """The Content-Security-Policy of the page."""
    # Not every browser in use takes 'self' to cover WebSockets.
    sockets = f"{'wss' if request.is_secure() else 'ws'}://{request.get_host()}"
    return {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "font-src": [SELF],
        "img-src": [SELF],
        "connect-src": [SELF, sockets],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "require-trusted-types-for": ["'script'"],
    }
