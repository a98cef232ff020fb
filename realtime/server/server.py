"""Daphne's server with what the stock one lacks: a beginning, an orderly end, quiet logs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from daphne.server import Server as DaphneServer
from twisted.internet import defer

from realtime.core.close_codes import CloseCode
from realtime.runtime import get_server_runtime, stop_server_runtime
from realtime.server.upgrade import install_engine
from realtime.sessions import pick_retry_after

logger = logging.getLogger("realtime.server")

# How long sessions get to close before their tasks are cancelled, in seconds.
CLOSE_TIMEOUT = 3.0

Background = Callable[[], Awaitable[None]]


class Server(DaphneServer):  # type: ignore[misc]
    """Starts the runtime before the first connection, and ends every session by name.

    `background` holds coroutine functions that run beside the server for as long as it does.
    """

    background: Sequence[Background] = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, ready_callable=self._start)

    def _start(self) -> None:
        # Daphne calls this when it has its factories and listens; its loop does not run yet.
        install_engine(self)
        loop = asyncio.get_event_loop()
        self._starting = loop.create_task(self._start_runtime())

    async def _start_runtime(self) -> None:
        runtime = get_server_runtime()
        for function in self.background:
            runtime.run_soon(_run(function))

    def kill_all_applications(self) -> Any:
        """Called by Twisted before it stops: tell the sessions, wait for them, write it down."""
        return defer.Deferred.fromFuture(asyncio.ensure_future(self._stop()))

    async def _stop(self) -> None:
        runtime = get_server_runtime()
        for session in runtime.sessions:
            session.close(CloseCode.SERVICE_RESTART, pick_retry_after())
        tasks = [
            details["application_instance"]
            for details in tuple(self.connections.values())
            if "application_instance" in details
        ]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await stop_server_runtime()

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """One line for each request; a query string can hold secrets, so it is left out."""
        if protocol == "http" and action == "complete":
            logger.info(
                "request",
                extra={
                    "method": details["method"],
                    "path": str(details["path"]).partition("?")[0],
                    "status": details["status"],
                    "bytes": details["size"],
                    "seconds": round(float(details["time_taken"]), 3),
                    "address": details["client"],
                },
            )


async def _run(function: Background) -> None:
    await function()
