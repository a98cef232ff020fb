"""A server on the `websockets` library and uvloop; how it sends to all is the caller's choice."""

import asyncio
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable

import uvloop
from websockets.asyncio.server import ServerConnection, serve

SendToAll = Callable[[set[ServerConnection], str | bytes], Awaitable[None]]


def run(send_to_all: SendToAll) -> None:
    """Serve until the process is ended."""
    uvloop.run(_serve(int(sys.argv[1]), send_to_all))


async def _serve(port: int, send_to_all: SendToAll) -> None:
    topics: defaultdict[str, set[ServerConnection]] = defaultdict(set)

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        parts = connection.request.path.strip("/").split("/")
        kind, name = parts[1], parts[-1]
        if kind == "echo":
            async for message in connection:
                await connection.send(message)
            return
        subscribers = topics[name]
        if kind == "broadcast":
            subscribers.add(connection)
        try:
            async for message in connection:
                await send_to_all(subscribers, message)
        finally:
            subscribers.discard(connection)

    # No compression, no limit, and no pings within a measurement.
    async with serve(
        handle,
        "127.0.0.1",
        port,
        compression=None,
        max_size=None,
        ping_interval=600,
        backlog=4096,
    ):
        await asyncio.get_running_loop().create_future()
