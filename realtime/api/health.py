"""Is the process alive, and is it ready?"""

import asyncio
from http import HTTPStatus
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from realtime.pulse import Health
from realtime.runtime import get_server_runtime

DATABASE_TIMEOUT = 2.0
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
    failed = []
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT):
            await sync_to_async(_ask_database, thread_sensitive=False)()
    except (DatabaseError, TimeoutError):
        failed.append("database")
    runtime = get_server_runtime()
    if runtime.is_draining:
        failed.append("draining")
    try:
        async with asyncio.timeout(REDIS_TIMEOUT):
            health = await runtime.pulse.look()
    except TimeoutError:
        health = Health("the store does not answer in time")
    degraded: list[str] = []
    if health.reason:
        (failed if health.is_misfit else degraded).append("redis")
    answer: dict[str, Any] = {
        "status": "unavailable" if failed else "degraded" if degraded else "ok",
        "failed": failed,
        "degraded": degraded,
    }
    if health.reason:
        answer["reasons"] = {"redis": health.reason}
    status = HTTPStatus.SERVICE_UNAVAILABLE if failed else HTTPStatus.OK
    return JsonResponse(answer, status=status)


def _ask_database() -> None:
    connection.close()  # a new one: SQLite would answer from one that is open, file or no file
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()
