"""An HTTP connection in which everything has a bound: heads, bodies, answers, and the time of each.

Twisted's channel carries the bytes and starts requests one after another. Heads are read by
`heads.py`, since Twisted's own closes without an answer, or with an empty one, and takes more than
one should; its time-out begins anew with every byte.
"""

import time
from enum import Enum
from http import HTTPStatus
from typing import Any

from twisted.internet import tcp
from twisted.web.http import (
    HTTPChannel,
    _ChunkedTransferDecoder,
    _IdentityTransferDecoder,
    _MalformedChunkedDataError,
)

from realtime.conf import get_settings
from realtime.core.addresses import group_address
from realtime.forwarded import find_address
from realtime.limits import Limit
from realtime.metrics import LIMITED
from realtime.server.answer import AnswerClock
from realtime.server.bodies import Body
from realtime.server.heads import MAX_LINE, Head, HeadLines
from realtime.server.refusals import Refusal, logger

# After a refusal the connection stays for so long, and so many bytes are read and dropped: closing
# at once, with bytes unread, would reset it, and the answer would be lost with it.
LINGER_SECONDS = 2.0
LINGER_BYTES = 4 * 1024 * 1024
# Reading pauses when so many bytes of later requests are here; they are kept in so many pieces.
MAX_EARLY = 16 * 1024
MAX_PIECES = 64

_NEVER = float("inf")
# The answer to OPTIONS *, which asks about the server and not about a path.
_OPTIONS = (
    b"HTTP/1.1 204 No Content\r\n"
    b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
    b"Connection: close\r\n\r\n"
)


class Phase(Enum):
    """What a connection is at."""

    HEAD = "head"  # it is new, or a head is on its way
    BODY = "body"
    ANSWER = "answer"  # the application has the request
    IDLE = "idle"  # between two requests
    CLOSING = "closing"


_WAITING = frozenset({Phase.HEAD, Phase.IDLE, Phase.CLOSING})


class Channel(HTTPChannel):  # type: ignore[misc]
    """One connection; `check` is called every half a second."""

    MAX_LENGTH = MAX_LINE
    _dataBuffer: list[bytes]

    # From Twisted

    def connectionMade(self) -> None:
        """Be counted, and known to the server, which may drain."""
        super().connectionMade()
        self.settings = get_settings()
        self._server = self.factory.server
        self.address = str(getattr(self.transport.getPeer(), "host", None) or "")
        self._lines = HeadLines()
        self._body: Body | None = None
        self._dropped = 0
        self.answer_clock = AnswerClock(self.settings)
        self._began = 0.0
        self._phase = Phase.HEAD
        self._deadline = time.monotonic() + self.settings.http_head_timeout
        self._server.channels.add(self)
        if not self._server.admission.admit(self):
            self._turn_away()

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._phase is Phase.CLOSING:
            self._dropped += len(data)
            if self._dropped > LINGER_BYTES:
                self._networkProducer.pauseProducing()
            return
        if self._phase is Phase.IDLE:
            self._expect_head()
        super().dataReceived(data)  # what it returns is for its own loop

    def lineReceived(self, line: bytes) -> bool | None:
        """A line of a head; True ends Twisted's loop over what has come."""
        if self._phase is Phase.IDLE:
            self._expect_head()
        try:
            head = self._lines.take(line)
            if head is not None:
                self._begin(head)
        except Refusal as refusal:
            return self._refuse(refusal)
        return self._phase is Phase.CLOSING or None

    def lineLengthExceeded(self, line: bytes) -> bool:
        """A line of a head is too long."""
        return self._refuse(self._lines.refuse_long())

    def rawDataReceived(self, data: bytes) -> bool | None:
        """Bytes of a body, or of requests behind the one that is being answered."""
        if self._handlingRequest:
            self._keep_early(data)
            return None
        try:
            self._transferDecoder.dataReceived(data)
        except Refusal as refusal:
            return self._refuse(refusal)
        except _MalformedChunkedDataError:
            return self._refuse(Refusal(HTTPStatus.BAD_REQUEST, "the chunks are malformed"))
        return None

    def allContentReceived(self) -> None:
        """The request is whole."""
        self._enter(Phase.ANSWER, _NEVER)
        self.answer_clock.begin()
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        """It has been answered; the next one may be here already."""
        self._release_body()
        self._enter(Phase.IDLE, self.settings.http_keep_alive)
        super().requestDone(request)

    def pauseProducing(self) -> None:
        """The socket does not take what is written."""
        self.answer_clock.hold()
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """It has taken all."""
        self.answer_clock.go_on()
        super().resumeProducing()

    def loseConnection(self) -> None:
        """Close when what is written has been taken."""
        self._enter(Phase.CLOSING, self.answer_clock.patience)
        super().loseConnection()

    def connectionLost(self, reason: Any) -> None:
        """The socket is gone."""
        self.leave()
        super().connectionLost(reason)

    # For the server

    @property
    def awaits_head(self) -> bool:
        """Whether a request is on its way, or at least the connection is new."""
        return self._phase is Phase.HEAD

    def leave(self) -> None:
        """The connection has ended, or become a WebSocket."""
        self._deadline = _NEVER
        self._release_body()
        self.answer_clock.go_on()
        self._server.admission.remove(self)
        self._server.channels.discard(self)

    def evict(self) -> None:
        """End: another one needs the room, and here is no request to answer."""
        is_closing = self._phase is Phase.CLOSING
        self._enter(Phase.CLOSING, LINGER_SECONDS)
        if is_closing or not self._is_plain:
            self.transport.abortConnection()
        else:
            super().loseConnection()

    def check(self, now: float) -> None:
        """End what takes too long."""
        if self.answer_clock.is_awaited:
            if self.answer_clock.is_late(now):
                LIMITED.labels(Limit.HTTP_DEADLINES).inc()
                logger.info("an answer was not read in time", extra={"address": self.address})
                self._enter(Phase.CLOSING, LINGER_SECONDS)
                self.transport.abortConnection()
        elif now > self._deadline:
            self._expire()

    # Heads

    def _expect_head(self) -> None:
        self._enter(Phase.HEAD, self.settings.http_head_timeout)

    def _begin(self, head: Head) -> None:
        """A head has come; raises Refusal."""
        if head.target == b"*":
            if head.length != 0:
                raise Refusal(HTTPStatus.BAD_REQUEST, "OPTIONS * has no body")
            self.transport.write(_OPTIONS)
            self._linger()
            return
        if head.length != 0:
            self._body = Body(
                head.path,
                client=self._find_client(head),
                server=self._server,
                settings=self.settings,
            )
            self._body.allow(head.length or 0)
        request = self.requestFactory(self, len(self.requests))
        self.requests.append(request)
        for name, value in head.headers:
            request.requestHeaders.addRawHeader(name, value)
        self._command, self._path, self._version = head.method, head.target, head.version
        if not head.is_persistent:
            self.persistent = False
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        request.gotLength(head.length)
        if head.length == 0:
            self.allContentReceived()
            return
        self._expect_body(head)

    def _keep_early(self, data: bytes) -> None:
        """Keep what came before the answer is out. (Twisted's has no bound if nobody reads it.)"""
        self._dataBuffer.append(data)
        if len(self._dataBuffer) > MAX_PIECES:
            self._dataBuffer = [b"".join(self._dataBuffer)]
        if sum(map(len, self._dataBuffer)) > MAX_EARLY:
            self._networkProducer.pauseProducing()

    # Bodies

    def _expect_body(self, head: Head) -> None:
        self._enter(Phase.BODY, self.settings.http_patience)
        self._began = time.monotonic()
        if head.expects_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._transferDecoder = (
            _ChunkedTransferDecoder(self._take_body, self._finishRequestBody)
            if head.length is None
            else _IdentityTransferDecoder(head.length, self._take_body, self._finishRequestBody)
        )
        self.setRawMode()

    def _take_body(self, data: bytes) -> None:
        """A piece of the body; raises Refusal."""
        assert self._body is not None
        self._body.take(len(data))
        self._deadline = self._began + self._body.patience
        self.requests[-1].handleContentChunk(data)

    def _find_client(self, head: Head) -> str:
        """Whom the body is counted for: behind proxies, whom they say."""
        headers = ((name.lower(), value) for name, value in head.headers)
        address = find_address(headers, proxies=self._server.trusted_proxies)
        return group_address(address or self.address)

    def _release_body(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.release()

    # Ends

    def _expire(self) -> None:
        match self._phase:
            case Phase.CLOSING:
                self._deadline = _NEVER
                self.transport.abortConnection()
            case Phase.HEAD if self._lines.size or self._buffer:
                LIMITED.labels(Limit.HTTP_DEADLINES).inc()
                self._refuse(Refusal(HTTPStatus.REQUEST_TIMEOUT, "the head came too slowly"))
            case Phase.BODY:
                LIMITED.labels(Limit.HTTP_DEADLINES).inc()
                self._refuse(Refusal(HTTPStatus.REQUEST_TIMEOUT, "the body came too slowly"))
            case _:
                self.loseConnection()

    def _refuse(self, refusal: Refusal) -> bool:
        """Say why not, and close; returns True, which ends Twisted's loop over what has come."""
        refusal.record(self.address)
        self.transport.write(refusal.build_answer())
        self._linger()
        return True

    def _turn_away(self) -> None:
        """There is no room. Say so where that costs nothing, and do not stay to be heard."""
        refusal = Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE, "there are too many connections: try again in a moment"
        )
        refusal.record(self.address)
        self._enter(Phase.CLOSING, LINGER_SECONDS)
        if self._is_plain:
            self.transport.write(refusal.build_answer())
            super().loseConnection()
        else:
            self.transport.abortConnection()

    def _linger(self) -> None:
        """Close for writing, and read on for a while."""
        self._enter(Phase.CLOSING, LINGER_SECONDS)
        self._lines.clear()
        self.clearLineBuffer()
        self._release_body()
        for request in self.requests:
            request.content.close()
        self._networkProducer.unregisterProducer()
        if self._is_plain:
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()  # TLS says so first, and reads on

    @property
    def _is_plain(self) -> bool:
        return isinstance(self.transport, tcp.Connection)

    def _enter(self, phase: Phase, seconds: float) -> None:
        self._phase = phase
        self._deadline = time.monotonic() + seconds
        admission = self._server.admission
        if phase in _WAITING:
            admission.note_waiting(self)
        else:
            admission.note_busy(self)
        if phase is Phase.CLOSING:
            self.answer_clock.go_on()
