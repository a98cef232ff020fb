"""One WebSocket on daphne's transport: the engine between a TCP connection and an application.

Twisted calls `dataReceived` and `connectionLost`, daphne `check_timeouts`. The application is an
ASGI one; it finds its outbox in `scope["extensions"]`, so that it can write without a copy, a
task or a hop.
"""

import asyncio
import logging
import time
from typing import Any

from twisted.internet import tcp
from websockets.http11 import Response
from websockets.protocol import OPEN

from realtime.conf import Settings
from realtime.core.addresses import name_sender
from realtime.core.close_codes import CloseCode
from realtime.core.framing import PING, build_close, build_frame
from realtime.frames import frame_bytes, frame_text
from realtime.limits import READER
from realtime.outbox import EXTENSION
from realtime.runtime import get_server_runtime
from realtime.server.handshake import (
    TEXT,
    RawHeaders,
    answer_upgrade,
    build_refusal,
    build_scope,
    read_headers,
)
from realtime.server.reader import SocketReader
from realtime.server.socket_outbox import SocketOutbox
from realtime.server.socket_reader import DirectReads

logger = logging.getLogger("realtime.server")

# What a peer gets to answer a close frame, or to read ours after a fault, in seconds.
CLOSE_TIMEOUT = 5.0


class WebSocketConnection:
    """Made for a request to upgrade; serves one application until the socket is gone."""

    def __init__(self, server: Any, request: Any, settings: Settings) -> None:
        self._server = server
        self._request = request
        self._settings = settings
        self._is_accepted = False
        self._was_injected = False
        self._denial: dict[str, Any] | None = None  # the answer that is to come instead of 101
        self._is_lost = False
        self._has_ended = False  # the application was told of the end
        self._last_received = time.monotonic()
        self._pinged_at: float | None = None
        self._close_timer: asyncio.TimerHandle | None = None

    # Twisted's side

    def makeConnection(self, transport: Any) -> None:
        """Take over the transport from the HTTP channel, and start the application."""
        self.transport = transport
        self._loop = asyncio.get_running_loop()
        self.outbox = SocketOutbox(transport, self._send_close)
        channel = self._request.channel
        channel._networkProducer.unregisterProducer()
        channel.setTimeout(None)
        channel.leave()
        # What the client sent right behind its handshake is still with the channel.
        channel.rawDataReceived = self.dataReceived
        self.reader = SocketReader(
            transport,
            self._settings,
            write=self._write_answers,
            fail=self._fail,
            cut=self._cut,
        )
        self._parser = self.reader.parser
        if self.outbox.socket is not None and isinstance(transport, DirectReads):
            transport.read_directly(self.reader.plan_read)
        request, self._request = self._request, None
        self._open(request)

    def dataReceived(self, data: bytes | memoryview) -> None:
        """Bytes from the client."""
        if self._was_injected:
            self.reader.take(data)
        self._was_injected = True  # daphne repeats the request to its WebSocket protocol

    def connectionLost(self, reason: Any) -> None:
        """The socket is gone."""
        self._is_lost = True
        if self._close_timer is not None:
            self._close_timer.cancel()
        self.outbox.lose()
        self.reader.lose()
        self._end(CloseCode.ABNORMAL)
        self._server.protocol_disconnected(self)

    # The application's side

    async def send(self, event: dict[str, Any]) -> None:
        """ASGI: accept, send or close; waits while the socket does not take what was sent."""
        match event["type"]:
            case "websocket.send":
                text = event.get("text")
                frames = frame_text(text) if text is not None else frame_bytes(event["bytes"])
                await self.outbox.drained()
                self.outbox.put(frames)
            case "websocket.close" if self._is_accepted:
                code = event.get("code") or CloseCode.NORMAL
                self.outbox.close(code, event.get("reason") or "")
            case "websocket.accept":
                self._accept(event)
            case "websocket.close":
                self._reject(403, "Access denied\n")
            case "websocket.http.response.start":
                self._denial = event
            case "websocket.http.response.body" if self._denial is not None:
                text = event.get("body", b"").decode()  # in one piece, as our own answers are
                self._reject(self._denial["status"], text, self._denial["headers"])
            case other:
                raise ValueError(f"cannot handle {other!r}")

    # Daphne's side

    def check_timeouts(self) -> None:
        """Called every two seconds: ping a quiet peer, give up on one that does not answer.

        Progress in either direction counts as life: a slow but living reader is not cut.
        """
        if not self._is_accepted or self._is_lost:
            return
        now = time.monotonic()
        self.reader.check(now)
        if self.reader.is_paused and not self.outbox.is_writing:
            return  # it may have answered: what it sends is not looked at now
        if self.reader.has_received():
            self._last_received, self._pinged_at = now, None
        if self._pinged_at is not None:
            if now - max(self._pinged_at, self.outbox.progress) > self._server.ping_timeout:
                self.transport.abortConnection()
        elif now - self._last_received > self._server.ping_interval:
            self._pinged_at = now
            self.outbox.put_urgent(build_frame(PING, b""))

    def handle_exception(self, error: BaseException) -> None:
        """The application failed; daphne has logged it, and `_leave` told the peer."""

    def _leave(self, task: "asyncio.Task[None]") -> None:
        """The application is over, and nobody will answer: the peer is told, unless it knows."""
        self._server.let_go(self)
        if self._is_lost or self._has_ended:
            return
        if self._is_accepted:
            self.outbox.abort(CloseCode.INTERNAL_ERROR, "internal error")
        else:
            self._reject(500, "Internal server error\n")

    # The handshake

    def _open(self, request: Any) -> None:
        headers = read_headers(request)
        self._response: Response | None = answer_upgrade(request, headers)
        self._server.protocol_connected(self)
        if self._response.status_code != 101:
            self._write(self._response.serialize())
            self.transport.loseConnection()
            return
        scope = build_scope(request, headers, root_path=self._server.root_path)
        scope["extensions"] = {
            EXTENSION: self.outbox,
            READER: self.reader,
            "websocket.http.response": {},
        }
        self._address = str(scope["client"][0]) if scope["client"] else ""
        self.reader.push({"type": "websocket.connect"})
        application = self._server.application(scope, self.reader.receive, self.send)
        task = self._loop.create_task(application)
        task.add_done_callback(self._leave)
        self._server.connections[self]["application_instance"] = task

    def _accept(self, event: dict[str, Any]) -> None:
        response = self._response
        assert response is not None
        if event.get("subprotocol"):
            response.headers["Sec-WebSocket-Protocol"] = event["subprotocol"]
        for name, value in event.get("headers") or ():
            response.headers[name.decode("ascii")] = value.decode("latin-1")
        self._response = None
        self._is_accepted = True
        self.outbox.put_urgent(response.serialize())
        memory = get_server_runtime().limits.memory
        self.reader.accept(memory, owner=name_sender(None, self._address))

    def _reject(self, status: int, text: str, headers: RawHeaders = TEXT) -> None:
        if self._response is not None and not self._is_lost:
            self._response = None
            self._write(build_refusal(status, text, headers))
            self.transport.loseConnection()

    # Frames

    def _write_answers(self, answers: list[bytes]) -> None:
        """Write what the protocol wants to: pongs, a close, the end."""
        if data := b"".join(answers):
            self.outbox.put_urgent(data)
        if b"" in answers:
            closed = self._parser.close
            final = closed or self._parser.protocol.close_sent
            self._end(*((final.code, final.reason) if final else (CloseCode.ABNORMAL,)))
            self.reader.open()  # what still comes is dropped
            self.outbox.end(self.transport.loseConnection if closed else self._end_writing)
            self._start_close_timer()

    def _fail(self, code: CloseCode, reason: str) -> None:
        """The client has gone too far: it is told so, and all that it sends is dropped."""
        if self._is_lost or self._has_ended:
            return
        self._parser.fail(code, reason)
        self.reader.stop()
        self._write_answers(self._parser.take_answers())

    def _cut(self, code: CloseCode, reason: str) -> None:
        """The same, of one that takes too much memory."""
        is_writing = self.outbox.is_writing
        self._fail(code, reason)
        if is_writing:
            # An echo, mostly, that is not read: nor would a close be, and it is to go now.
            self.transport.abortConnection()

    def _end_writing(self) -> None:
        # The peer broke the protocol and was told so. Closing at once, with bytes of its unread,
        # would reset the connection and take our close frame along.
        if isinstance(self.transport, tcp.Connection):
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()  # TLS says so first, and reads on

    def _send_close(self, code: int, reason: str) -> None:
        """Called by the outbox when everything before the close has been written."""
        protocol = self._parser.protocol
        if self._is_lost or protocol.state is not OPEN:
            return
        protocol.send_close(code, reason.encode()[:123].decode(errors="ignore"))
        protocol.data_to_send()
        self._write(build_close(code, reason))
        self.reader.open()  # its answer is looked for
        self._start_close_timer()

    def _start_close_timer(self) -> None:
        if self._close_timer is None:
            self._close_timer = self._loop.call_later(CLOSE_TIMEOUT, self.transport.abortConnection)

    def _write(self, data: bytes) -> None:
        self.transport.write(data)

    # Events

    def _end(self, code: int, reason: str = "") -> None:
        if not self._has_ended:
            self._has_ended = True
            self.reader.push({"type": "websocket.disconnect", "code": int(code), "reason": reason})

    def __hash__(self) -> int:
        return id(self)
