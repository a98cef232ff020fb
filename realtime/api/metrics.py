"""What Prometheus asks for."""

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from realtime.api.health import look_at_stores
from realtime.metrics import render_metrics
from realtime.runtime import get_server_runtime


@login_not_required
@require_safe
@never_cache
async def metrics(request: HttpRequest) -> HttpResponse:
    """The counts of this server, in Prometheus' own format."""
    runtime = get_server_runtime()
    stores = await look_at_stores(runtime)
    healthy = {"database": stores.database}
    if runtime.settings.redis_url:
        healthy["redis"] = not stores.redis.reason
    text, media_type = await sync_to_async(render_metrics)(healthy)
    return HttpResponse(text, content_type=media_type)
