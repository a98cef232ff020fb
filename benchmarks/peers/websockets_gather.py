"""`gather(send(…), …)`, as in many tutorials."""

import asyncio

from websockets.asyncio.server import ServerConnection

from benchmarks.peers.websockets_topics import run


async def send_to_all(subscribers: set[ServerConnection], message: str | bytes) -> None:
    """A coroutine for each subscriber, and a wait for the slowest."""
    await asyncio.gather(*[subscriber.send(message) for subscriber in subscribers])


if __name__ == "__main__":
    run(send_to_all)
