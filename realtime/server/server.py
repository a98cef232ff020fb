"""Daphne's server with what the stock one lacks: a beginning, an orderly end, quiet logs."""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from daphne.server import Server as DaphneServer
from twisted.internet import defer

from realtime.runtime import get_server_runtime
from realtime.server.dead_sockets import watch_dead_sockets
from realtime.server.drain import drain
from realtime.server.socket_reader import enable_direct_reads
from realtime.server.upgrade import install_engine

logger = logging.getLogger("realtime.server")

Background = Callable[[], Awaitable[None]]


class Server(DaphneServer):  # type: ignore[misc]
    """Starts the runtime before the first connection, and ends every session by name.

    `background` holds coroutine functions that run beside the server for as long as it does.
    """

    background: Sequence[Background] = ()
    # How long load balancers get to notice, and how long sessions and requests get to end.
    drain_delay = 0.0
    drain_seconds = 20.0
    # False in one of several processes: it may be sent the same signal as its parent, and by it.
    ends_at_second_signal = True

    def __init__(self, *args: Any, **options: Any) -> None:
        self.ports: list[Any] = []  # that listen
        self.channels: set[Any] = set()  # HTTP connections
        super().__init__(*args, **options, ready_callable=self._start)

    def _start(self) -> None:
        # Daphne calls this when it has its factories and listens; its loop does not run yet.
        install_engine(self)
        loop = asyncio.get_event_loop()
        watch_dead_sockets(self, loop)
        self._starting = loop.create_task(self._start_runtime())

    async def _start_runtime(self) -> None:
        runtime = get_server_runtime()
        # What is loaded by now stays for good. Looking through it for garbage would hold everybody
        # up for 70 ms, each time that clients have sent enough lists and objects.
        gc.collect()
        gc.freeze()
        for function in self.background:
            runtime.run_soon(_run(function))

    def kill_all_applications(self) -> Any:
        """Called by Twisted before it stops, which waits for what this returns.

        (Daphne's own cancels every task, so that clients see 1006 and nobody cleans up.)
        """
        ending = drain(self, delay=self.drain_delay, seconds=self.drain_seconds)
        return defer.Deferred.fromFuture(asyncio.ensure_future(ending))

    def listen_success(self, port: Any) -> None:
        """Keep the listening ports, so that the drain can close them first."""
        super().listen_success(port)
        logger.info("serving", extra={"address": str(port.getHost())})
        enable_direct_reads(port)
        self.ports.append(port)

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
                    "address": (details["client"] or "").rpartition(":")[0],  # without its port
                },
            )


async def _run(function: Background) -> None:
    await function()
