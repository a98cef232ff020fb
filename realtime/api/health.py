"""Is the process alive, and is it ready?"""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from realtime.pulse import Health
from realtime.runtime import Runtime, get_server_runtime

REDIS_TIMEOUT = 3.0


@login_not_required
@require_safe
@never_cache
async def live(request: HttpRequest) -> JsonResponse:
    """200 as long as the event loop turns."""
    return JsonResponse({"status": "ok"})


@login_not_required
@require_safe
@never_cache
async def ready(request: HttpRequest) -> JsonResponse:
    """200, or 503 without a database, while draining, and with a Redis that can never work.

    Redis that is down or refuses to publish is 200, degraded: sockets stay and recover, and taking
    every instance out at once would make a brown-out an outage.
    """
    runtime = get_server_runtime()
    stores = await look_at_stores(runtime)
    failed: list[str] = []
    degraded: list[str] = []
    if not stores.database:
        failed.append("database")
    if runtime.is_draining:
        failed.append("draining")
    if stores.redis.reason:
        (failed if stores.redis.is_misfit else degraded).append("redis")
    answer: dict[str, Any] = {
        "status": "unavailable" if failed else "degraded" if degraded else "ok",
        "failed": failed,
        "degraded": degraded,
    }
    if stores.redis.reason:
        answer["reasons"] = {"redis": stores.redis.reason}
    status = HTTPStatus.SERVICE_UNAVAILABLE if failed else HTTPStatus.OK
    return JsonResponse(answer, status=status)


@dataclass(frozen=True, slots=True)
class Stores:
    """Whether the database answers, and what keeps Redis from being of use."""

    database: bool
    redis: Health


async def look_at_stores(runtime: Runtime) -> Stores:
    """Ask both, at the same time."""
    database, redis = await asyncio.gather(runtime.database.look(), _look_at_redis(runtime))
    return Stores(database, redis)


async def _look_at_redis(runtime: Runtime) -> Health:
    try:
        async with asyncio.timeout(REDIS_TIMEOUT):
            return await runtime.pulse.look()
    except TimeoutError:
        return Health("the store does not answer in time")
