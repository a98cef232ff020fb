"""One WebSocket on daphne's transport: the engine between a TCP connection and an application.

Twisted calls `dataReceived` and `connectionLost`, daphne `check_timeouts`. The application is an
ASGI one; it finds its outbox in `scope["extensions"]`, so that it can write without a copy, a
task or a hop.
"""

import asyncio
import logging
import time
from collections import deque
from typing import Any

from twisted.internet import tcp
from websockets.http11 import Response
from websockets.protocol import OPEN

from realtime.core.close_codes import CloseCode
from realtime.core.entries import LongMessage
from realtime.core.framing import PING, build_close, build_frame
from realtime.frames import frame_bytes, frame_text
from realtime.outbox import EXTENSION
from realtime.server.handshake import (
    TEXT,
    RawHeaders,
    answer_upgrade,
    build_refusal,
    build_scope,
    read_headers,
)
from realtime.server.parser import MessageParser
from realtime.server.socket_outbox import SocketOutbox
from realtime.server.socket_reader import DirectReads

logger = logging.getLogger("realtime.server")

# Reading pauses when so many messages, or bytes, wait for the application, and goes on at so many.
PAUSE_AT = 64
PAUSE_BYTES = 1024 * 1024
RESUME_AT = 16
# What a peer gets to answer a close frame, or to read ours after a fault, in seconds.
CLOSE_TIMEOUT = 5.0
# A client need not wait for our answer to its handshake; more than this stays in the socket.
MAX_EARLY = 64 * 1024


# An empty deque takes 760 bytes, as much as a small message: who has nothing shares this one.
_NOTHING: deque[dict[str, Any]] = deque(maxlen=0)


class WebSocketConnection:
    """Made for a request to upgrade; serves one application until the socket is gone."""

    def __init__(self, server: Any, request: Any, *, max_size: int) -> None:
        self._server = server
        self._request = request
        self._parser = MessageParser(max_size=max_size)
        self._events = _NOTHING
        self._waiter: asyncio.Future[dict[str, Any]] | None = None
        self._is_accepted = False
        self._was_injected = False
        self._denial: dict[str, Any] | None = None  # the answer that is to come instead of 101
        self._early = b""  # frames that came before the application accepted
        self._is_paused = False
        self._unread = 0  # bytes (or characters) of the messages that wait for the application
        self._is_lost = False
        self._has_ended = False  # the application was told of the end
        self._has_received = False  # since `check_timeouts` looked
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
        if self.outbox.socket is not None and isinstance(transport, DirectReads):
            transport.read_directly(self._parser.find_buffer)
        request, self._request = self._request, None
        self._open(request)

    def dataReceived(self, data: bytes | memoryview) -> None:
        """Bytes from the client."""
        if not self._is_accepted:
            self._keep_early(bytes(data))
            return
        self._has_received = True
        for message in self._parser.feed(data):
            if isinstance(message, LongMessage) and not self.outbox.is_used:
                message = bytes(message)  # what ASGI promises to other applications
            kind = "text" if isinstance(message, str) else "bytes"
            self._push({"type": "websocket.receive", kind: message})
        answers = self._parser.take_answers()
        if answers:
            self._write_answers(answers)
        if len(self._events) >= PAUSE_AT or self._unread > PAUSE_BYTES:
            self._pause()

    def _keep_early(self, data: bytes) -> None:
        if not self._was_injected:
            self._was_injected = True  # daphne repeats the request to its WebSocket protocol
            return
        self._early += data
        if len(self._early) > MAX_EARLY:
            self._pause()

    def connectionLost(self, reason: Any) -> None:
        """The socket is gone."""
        self._is_lost = True
        if self._close_timer is not None:
            self._close_timer.cancel()
        self.outbox.lose()
        self._parser.release()
        self._end(CloseCode.ABNORMAL)
        self._server.protocol_disconnected(self)

    # The application's side

    async def receive(self) -> dict[str, Any]:
        """ASGI: the next event."""
        if not self._events:
            waiter: asyncio.Future[dict[str, Any]] = self._loop.create_future()
            self._waiter = waiter
            try:
                return await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._keep(waiter.result(), first=True)  # it came at the same moment
                raise
        event = self._events.popleft()
        self._unread -= _measure(event)
        if not self._events:
            self._events = _NOTHING
        if self._is_paused and len(self._events) <= RESUME_AT and self._unread <= PAUSE_BYTES:
            self._resume()
        return event

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
        if self._is_paused and not self.outbox.is_writing:
            return  # it may have answered: what it sends is not looked at now
        now = time.monotonic()
        if self._has_received:
            self._has_received = False
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
        scope["extensions"] = {EXTENSION: self.outbox, "websocket.http.response": {}}
        self._push({"type": "websocket.connect"})
        task = self._loop.create_task(self._server.application(scope, self.receive, self.send))
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
        early, self._early = self._early, b""
        self._resume()
        if early and not self._is_lost:
            self.dataReceived(early)

    def _reject(self, status: int, text: str, headers: RawHeaders = TEXT) -> None:
        if self._response is not None and not self._is_lost:
            self._response = None
            self._write(build_refusal(status, text, headers))
            self.transport.loseConnection()

    # Reading

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self.transport.pauseProducing()

    def _resume(self) -> None:
        if self._is_paused and not self._is_lost:
            self._is_paused = False
            self.transport.resumeProducing()

    # Frames

    def _write_answers(self, answers: list[bytes]) -> None:
        """Write what the protocol wants to: pongs, a close, the end."""
        ends = False
        for data in answers:
            if data:
                self.outbox.put_urgent(data)
            else:
                ends = True
        if ends:
            closed = self._parser.close
            final = closed or self._parser.protocol.close_sent
            self._end(*((final.code, final.reason) if final else (CloseCode.ABNORMAL,)))
            self.outbox.end(self.transport.loseConnection if closed else self._fail)
            self._start_close_timer()

    def _fail(self) -> None:
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
            self._push({"type": "websocket.disconnect", "code": int(code), "reason": reason})

    def _push(self, event: dict[str, Any]) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(event)  # past the queue: the application waits for it
        else:
            self._keep(event)

    def _keep(self, event: dict[str, Any], *, first: bool = False) -> None:
        if self._events is _NOTHING:
            self._events = deque()
        if first:
            self._events.appendleft(event)
        else:
            self._events.append(event)
        self._unread += _measure(event)

    def __hash__(self) -> int:
        return id(self)


def _measure(event: dict[str, Any]) -> int:
    return len(event.get("bytes") or event.get("text") or "")
