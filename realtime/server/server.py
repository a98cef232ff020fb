"""Daphne's server with what the stock one lacks: a beginning, an orderly end, quiet logs."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from daphne.server import Server as DaphneServer
from django.conf import settings as django_settings
from twisted.internet import defer

from realtime.conf import get_settings
from realtime.runtime import get_server_runtime
from realtime.server.admission import Admission
from realtime.server.bodies import HeldBodies
from realtime.server.dead_sockets import watch_dead_sockets
from realtime.server.drain import drain
from realtime.server.socket_reader import bound_accepts, enable_direct_reads
from realtime.server.upgrade import install_engine

logger = logging.getLogger("realtime.server")

# How often deadlines of HTTP connections are looked at, in seconds.
CHECK_INTERVAL = 0.5

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
        settings = get_settings()
        self.trusted_proxies: int = getattr(django_settings, "TRUSTED_PROXIES", 0)
        # Behind a proxy all connections have its address: it counts those of its clients.
        self.admission = Admission(settings, counts_addresses=not self.trusted_proxies)
        self.bodies = HeldBodies(settings)
        super().__init__(*args, **options, ready_callable=self._start)

    def _start(self) -> None:
        # Daphne calls this when it has its factories and listens; its loop does not run yet.
        install_engine(self)
        loop = asyncio.get_event_loop()
        watch_dead_sockets(self, loop)
        loop.call_later(CHECK_INTERVAL, self._check_channels, loop)
        self._starting = loop.create_task(self._start_runtime())

    def _check_channels(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(CHECK_INTERVAL, self._check_channels, loop)
        now = time.monotonic()
        for channel in tuple(self.channels):
            channel.check(now)

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        """Called for each HTTP request; returns the queue that it is to be fed through."""
        queue = super().create_application(protocol, scope)
        task = self.connections[protocol]["application_instance"]
        task.add_done_callback(lambda _: self.let_go(protocol))
        return queue

    def protocol_disconnected(self, protocol: Any) -> None:
        """A request has its answer, or a socket is gone."""
        if protocol in self.connections:
            super().protocol_disconnected(protocol)
            self.let_go(protocol)

    def let_go(self, protocol: Any) -> None:
        """Forget what is over in order. Daphne keeps all of it until it looks, once a second.

        That would be thousands of requests under a flood, and a tenth of a second to go through
        them. What has failed stays for daphne, which reports it.
        """
        details = self.connections.get(protocol, {})
        task = details.get("application_instance")
        if "disconnected" not in details or task is None or not task.done():
            return
        if not task.cancelled() and task.exception() is None:
            del self.connections[protocol]

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """What an application sends waits for a reader that is slow; daphne would keep it all."""
        await protocol.wait_for_reader(len(message.get("body", b"")))
        await super().handle_reply(protocol, message)

    async def _start_runtime(self) -> None:
        runtime = get_server_runtime()
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
        bound_accepts(port)
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
