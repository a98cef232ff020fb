"""Is the process alive, and is it ready?"""

import asyncio
from http import HTTPStatus

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from realtime.core.errors import Unavailable
from realtime.runtime import get_server_runtime

DATABASE_TIMEOUT = 2.0


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
    """200, or 503 without a database and while draining.

    Redis down is 200, degraded: sockets stay and recover, and taking every instance out at once
    would make a brown-out an outage.
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
    degraded = []
    if runtime.settings.redis_url:
        try:
            await runtime.history.read_tops([])
        except Unavailable:
            degraded.append("redis")
    return JsonResponse(
        {
            "status": "unavailable" if failed else "degraded" if degraded else "ok",
            "failed": failed,
            "degraded": degraded,
        },
        status=HTTPStatus.SERVICE_UNAVAILABLE if failed else HTTPStatus.OK,
    )


def _ask_database() -> None:
    connection.close()  # a new one: SQLite would answer from one that is open, file or no file
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()
