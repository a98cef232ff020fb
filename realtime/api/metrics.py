"""What Prometheus asks for."""

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from realtime.metrics import render_metrics


@login_not_required
@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """The counts of this server, in Prometheus' own format."""
    text, media_type = render_metrics()
    return HttpResponse(text, content_type=media_type)
