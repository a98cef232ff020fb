"""How our engine gets in: daphne asks factories for protocols, and we are those."""

from typing import Any

from realtime.conf import get_settings, use_own_engine
from realtime.server.channel import Channel
from realtime.server.request import Request
from realtime.server.websocket import WebSocketConnection


class ConnectionFactory:
    """Stands where daphne's factory of autobahn protocols stood."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.request: Request | None = None

    def buildProtocol(self, address: Any) -> WebSocketConnection:
        """A connection for the request that is being processed."""
        return WebSocketConnection(self._server, self.request, get_settings())


def install_engine(server: Any) -> None:
    """Replace daphne's WebSocket engine; call it when the factories exist."""
    use_own_engine()
    server.ws_factory = ConnectionFactory(server)
    factory = server.http_factory
    # A WebSocket begins as HTTP/1.1; a plain channel, without HTTP/2 to switch to, can be ours.
    factory.protocol = Channel
    factory.timeOut = None  # the channel has deadlines of its own
    factory.acceptableProtocols = lambda: [b"http/1.1"]
    build_channel = factory.buildProtocol

    def build_protocol(address: Any) -> Channel:
        channel: Channel = build_channel(address)
        channel.requestFactory = Request
        return channel

    factory.buildProtocol = build_protocol
