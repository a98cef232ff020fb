"""An orderly end: stop taking connections, tell every session, wait, write it down.

Twisted fires its "before shutdown" triggers at the first SIGTERM or SIGINT and waits for what
they return. A second signal ends the process at once.
"""

import asyncio
import logging
import os
import signal
import time
from typing import Any

from twisted.internet import reactor

from realtime.core.close_codes import CloseCode
from realtime.runtime import cancel_tasks, get_server_runtime, stop_server_runtime
from realtime.sessions import pick_retry_after

logger = logging.getLogger("realtime.server")

# How often it is looked at whether everything has been written, in seconds.
POLL = 0.05
# How long a connection that has just come may take for its request.
HEAD_SECONDS = 0.5


async def drain(server: Any, *, delay: float, seconds: float) -> None:
    """End the server's work: after `delay` (for load balancers to notice), in `seconds` at most."""
    if server.ends_at_second_signal:
        _end_at_next_signal()
    runtime = get_server_runtime()
    runtime.is_draining = True  # /readyz says 503 from now on
    began = time.monotonic()
    count = runtime.sessions.open_count
    logger.info("draining", extra={"sessions": count, "delay": delay})
    await asyncio.sleep(delay)
    deadline = time.monotonic() + seconds
    for port in server.ports:
        port.stopListening()
    await _finish_heads(server)
    for channel in tuple(server.channels):
        _end_when_idle(channel)
    for session in runtime.sessions.open:
        session.close(CloseCode.SERVICE_RESTART, pick_retry_after(count))
    await _finish_tasks(server, deadline)
    await _finish_writing(deadline)
    await stop_server_runtime()
    logger.info("drained", extra={"seconds": round(time.monotonic() - began, 3)})


def _end_at_next_signal() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(1))


async def _finish_heads(server: Any) -> None:
    """Wait a moment for requests on their way: a connection was taken, so it gets an answer."""
    deadline = time.monotonic() + HEAD_SECONDS
    while time.monotonic() < deadline and any(c.awaits_head for c in server.channels):  # noqa: ASYNC110
        await asyncio.sleep(POLL)


def _end_when_idle(channel: Any) -> None:
    """Let an HTTP connection go: after the answer that is on its way, or now."""
    channel.persistent = False
    if not channel.requests:
        channel.loseConnection()


async def _finish_tasks(server: Any, deadline: float) -> None:
    """Wait for sessions and requests; cancel those that are late."""
    tasks = [
        details["application_instance"]
        for details in tuple(server.connections.values())
        if "application_instance" in details
    ]
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=max(0.0, deadline - time.monotonic()))
    if late:
        logger.warning("sessions or requests were cut off", extra={"tasks": len(late)})
        await cancel_tasks(late)


async def _finish_writing(deadline: float) -> None:
    """Wait until the kernel has taken what is left to write."""
    while reactor.getWriters() and time.monotonic() < deadline:  # noqa: ASYNC110 (Twisted tells nobody)
        await asyncio.sleep(POLL)
