"""An HTTP connection that cannot be held open by a handshake that never ends."""

from typing import Any

from twisted.internet import reactor
from twisted.web.http import HTTPChannel


class Channel(HTTPChannel):  # type: ignore[misc]
    """Twisted's, which bounds the size of headers already, with a deadline for them.

    Twisted's own time-out begins anew with every byte that comes.
    """

    headers_timeout = 5.0

    def connectionMade(self) -> None:
        """Start the clock, and be known to the server, which may drain."""
        super().connectionMade()
        self.factory.server.channels.add(self)
        self._deadline: Any = None
        self._start_deadline()

    def lineReceived(self, line: bytes) -> None:
        """A line of a request's head; the first one of a later request starts the clock anew."""
        if self._deadline is None:
            self._start_deadline()
        super().lineReceived(line)

    def allHeadersReceived(self) -> None:
        """The head is complete."""
        self.end_deadline()
        super().allHeadersReceived()

    def connectionLost(self, reason: Any) -> None:
        """The socket is gone."""
        self.leave()
        super().connectionLost(reason)

    @property
    def awaits_head(self) -> bool:
        """Whether a request is on its way, or at least the connection is new."""
        return self._deadline is not None

    def leave(self) -> None:
        """The connection has ended, or become a WebSocket."""
        self.end_deadline()
        self.factory.server.channels.discard(self)

    def end_deadline(self) -> None:
        """Stop the clock."""
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()

    def _start_deadline(self) -> None:
        self._deadline = reactor.callLater(self.headers_timeout, self.transport.abortConnection)
