"""picows, a WebSocket library in Cython, on uvloop."""

import asyncio
import sys
from collections import defaultdict

import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

Topics = defaultdict[str, set[WSTransport]]


class Echo(WSListener):
    """Every message back."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())


class Publisher(WSListener):
    """Sends what it gets to all subscribers of a topic."""

    def __init__(self, subscribers: set[WSTransport]) -> None:
        super().__init__()
        self.subscribers = subscribers

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
            return
        kind, message = frame.msg_type, frame.get_payload_as_bytes()
        for subscriber in self.subscribers:
            subscriber.send(kind, message)


class Subscriber(Publisher):
    """The same, and gets what others send."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.subscribers.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.subscribers.discard(transport)


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    topics: Topics = defaultdict(set)

    def find_listener(request: WSUpgradeRequest) -> WSListener:
        parts = request.path.decode().strip("/").split("/")
        kind, name = parts[1], parts[-1]
        if kind == "echo":
            return Echo()
        return (Subscriber if kind == "broadcast" else Publisher)(topics[name])

    server = await ws_create_server(
        find_listener, "127.0.0.1", port, max_frame_size=64 * 1024 * 1024, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(serve(int(sys.argv[1])))
