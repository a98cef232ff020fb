"""How our WebSocket engine gets in: daphne asks its factory for a protocol, and we are that one."""

from typing import Any

from daphne.http_protocol import WebRequest

from realtime.conf import get_settings, use_own_engine
from realtime.server.channel import Channel
from realtime.server.websocket import WebSocketConnection


class UpgradableRequest(WebRequest):  # type: ignore[misc]
    """Tells the WebSocket factory which request asks for a connection."""

    channel: Any

    def process(self) -> Any:
        """Daphne checks the request; for an upgrade it then calls the factory, synchronously."""
        factory = self.server.ws_factory
        factory.request = self
        # Daphne would believe it: whoever wrote "/ws" there would turn /ws/metrics, which a proxy
        # lets through, into /metrics, which it does not. `--root-path` is what counts.
        self.requestHeaders.removeHeader(b"Daphne-Root-Path")
        try:
            return super().process()
        finally:
            factory.request = None
            if self.transport is None and self.channel is not None:
                self._let_go()

    def _let_go(self) -> None:
        """The connection is a WebSocket now: leave no circle of objects behind for it."""
        self.content.close()
        self.channel.requests.clear()
        self.channel = None


class ConnectionFactory:
    """Stands where daphne's factory of autobahn protocols stood."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.request: UpgradableRequest | None = None

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
    factory.acceptableProtocols = lambda: [b"http/1.1"]
    build_channel = factory.buildProtocol

    def build_protocol(address: Any) -> Channel:
        channel: Channel = build_channel(address)
        channel.requestFactory = UpgradableRequest
        return channel

    factory.buildProtocol = build_protocol
