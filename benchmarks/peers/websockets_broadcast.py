"""`websockets.broadcast`, as the library's own tutorial recommends."""

from websockets.asyncio.server import ServerConnection, broadcast

from benchmarks.peers.websockets_topics import run


async def send_to_all(subscribers: set[ServerConnection], message: str | bytes) -> None:
    """One call; nobody is waited for."""
    broadcast(subscribers, message)


if __name__ == "__main__":
    run(send_to_all)
