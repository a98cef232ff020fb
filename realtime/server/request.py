"""A request over HTTP, from a head and a body that are in order to the application and back."""

import asyncio
import io
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from daphne.http_protocol import WebRequest

from realtime.server.handshake import read_headers
from realtime.server.refusals import Refusal

# What the application gets of a body at a time, in bytes.
PIECE = 256 * 1024


class Request(WebRequest):  # type: ignore[misc]
    """Daphne's, which leaves forms to Django, and keeps bodies in memory, not in files."""

    channel: Any

    def gotLength(self, length: int | None) -> None:
        """The channel bounds what comes, so it may stay in memory."""
        self.content = io.BytesIO()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The channel has all of the request."""
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def process(self) -> Any:
        """Hand over to the WebSocket engine, or to the application."""
        # Daphne would believe it: whoever wrote "/ws" there would turn /ws/metrics, which a proxy
        # lets through, into /metrics, which it does not. `--root-path` is what counts.
        self.requestHeaders.removeHeader(b"Daphne-Root-Path")
        upgrade = self.requestHeaders.getRawHeaders(b"Upgrade", [b""])[0]
        if upgrade.lower() == b"websocket":
            return self._upgrade()
        self._start_application()
        return None

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        """Called by daphne where the application failed, which it has logged."""
        if self.finished or self.channel is None:
            return
        if self._response_started:
            self.channel.transport.abortConnection()  # the client must not take it for whole
            return
        answer = Refusal(HTTPStatus(status), "the server failed to answer this request").body
        headers = [
            (b"Content-Type", b"application/json"),
            (b"Content-Length", str(len(answer)).encode()),
        ]
        self.handle_reply({"type": "http.response.start", "status": status, "headers": headers})
        self.handle_reply({"type": "http.response.body", "body": answer})

    async def wait_for_reader(self, size: int) -> None:
        """Wait until so many bytes of the answer may follow those that are written."""
        if self.channel is not None and not self.finished:
            await self.channel.answer_clock.wait(size)

    def _start_application(self) -> None:
        self.request_start = time.time()
        if hasattr(self.client, "port"):  # a socket file has none
            self.client_addr = [str(self.client.host), self.client.port]
            self.server_addr = [str(self.host.host), self.host.port]
        query = self.uri.partition(b"?")[2]
        self.application_queue = self.server.create_application(
            self,
            {
                "type": "http",
                "http_version": self.clientproto.decode("ascii").partition("/")[2],
                "method": self.method.decode("ascii"),
                "path": unquote(self.path.decode("ascii")),
                "raw_path": self.path,
                "root_path": self.server.root_path,
                "scheme": "https" if self.isSecure() else "http",
                "query_string": query,
                "headers": read_headers(self),
                "client": self.client_addr,
                "server": self.server_addr,
            },
        )
        body = memoryview(self.content.getvalue())
        self.content.close()
        self._feed(body, asyncio.get_running_loop())

    def _feed(self, body: memoryview, loop: asyncio.AbstractEventLoop) -> None:
        """Give the application a piece, and the rest in later turns of the loop.

        It copies what it gets, and nobody else has a turn meanwhile.
        """
        piece, rest = body[:PIECE], body[PIECE:]
        self.application_queue.put_nowait(
            {"type": "http.request", "body": bytes(piece), "more_body": bool(rest)}
        )
        if rest and self.channel is not None and not self._disconnected:
            loop.call_soon(self._feed, rest, loop)

    def _upgrade(self) -> Any:
        """Daphne checks the request and calls the factory, synchronously."""
        factory = self.server.ws_factory
        factory.request = self
        try:
            return super().process()
        finally:
            factory.request = None
            if self.transport is None and self.channel is not None:
                self._let_go()

    def _let_go(self) -> None:
        """The connection is a WebSocket now: leave no circle of objects behind for it."""
        self.content.close()
        self.server.connections.pop(self, None)
        self.channel.requests.clear()
        self.channel = None
