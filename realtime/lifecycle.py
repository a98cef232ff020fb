"""The outermost ASGI layer: the process's runtime begins with the first scope.

Daphne has no lifespan protocol, so nothing is told when it starts; servers that have one are
told to wait for the runtime, and for its end.
"""

import gc
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from realtime.outbox import EXTENSION
from realtime.runtime import get_server_runtime, stop_server_runtime

logger = logging.getLogger("realtime")

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


class RuntimeMiddleware:
    """Makes sure that the runtime exists, and notes when a scope began."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._has_warned = False
        # What the application consists of stays: to look through it at each full collection
        # would halt everything for a tenth of a second, every other second of a busy process.
        gc.collect()
        gc.freeze()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one scope."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] == "websocket" and not self._has_warned:
            self._has_warned = True
            _warn_of_unbounded_clients(scope)
        get_server_runtime()
        # Not a copy: the scope is the server's gift to us, and each copy lives with its session.
        scope["realtime.began"] = time.monotonic()
        await self.app(scope, receive, send)


async def _live(receive: Any, send: Any) -> None:
    await receive()  # lifespan.startup
    get_server_runtime()
    await send({"type": "lifespan.startup.complete"})
    await receive()  # lifespan.shutdown
    await stop_server_runtime()
    await send({"type": "lifespan.shutdown.complete"})


def _warn_of_unbounded_clients(scope: Any) -> None:
    if "daphne.server" in sys.modules and EXTENSION not in (scope.get("extensions") or {}):
        logger.warning(
            "daphne takes whatever is sent and never waits, so what slow clients have not "
            "read yet is kept in memory without a bound; `manage.py serve` bounds it"
        )
