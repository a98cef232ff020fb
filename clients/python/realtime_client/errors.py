"""Everything that can go wrong, as exceptions.

ClientError
├── ConnectionEnded (ConnectionError)    the stream is over: code, reason
│   ├── HandshakeRefused                 an HTTP status instead of a WebSocket: status
│   ├── RetriesExhausted                 more failures in a row than max_retries
│   └── StreamClosed                     closed by this program
├── ConnectionLost (ConnectionError)     one connection broke: code, reason
├── RequestRefused                       the server's `error`: code, detail
│   └── MessageTooBig (ValueError)       refused here already, for the server's limits
├── QueueFull                            too much has waited too long to be published
├── UnknownOutcome                       it may or may not have been published: id
├── ArrayError (ValueError)              the bytes are no acceptable `.npy` file
├── ProtocolFault                        the server broke the protocol; the client comes back
├── Misuse (RuntimeError)                used where it cannot work: before it was opened, after a
│                                        fork, on another event loop, from its own callbacks
├── PoolExhausted (TimeoutError)         no connection became free in time: the counts
└── PoolClosed
"""


class ClientError(Exception):
    """The root of this package's exceptions."""


class ConnectionEnded(ClientError, ConnectionError):
    """The stream is over. `code` is None where there was no close code.

    `retry_after` is when a new stream may be tried, in seconds, where the server named a time.
    """

    def __init__(self, code: int | None, reason: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {reason}" if code is not None else reason)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after


class HandshakeRefused(ConnectionEnded):
    """The server answered with an HTTP status instead of a WebSocket.

    `header` is the value of its Retry-After, None without one.
    """

    def __init__(self, status: int, header: str | None = None) -> None:
        super().__init__(None, f"the server answered with HTTP {status}")
        self.status = status
        self.header = header


class RetriesExhausted(ConnectionEnded):
    """As many attempts in a row have failed as `max_retries` allows."""


class StreamClosed(ConnectionEnded):
    """This program closed the stream."""

    def __init__(self) -> None:
        super().__init__(1000, "the stream was closed")


class ConnectionLost(ClientError, ConnectionError):
    """A connection broke, or there is none at the moment."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code}: {reason}" if reason else f"{code}")
        self.code = code
        self.reason = reason


class RequestRefused(ClientError):
    """The server refused a message; `code` is one of section Errors of the protocol."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class MessageTooBig(RequestRefused, ValueError):
    """Longer than the server's limits allow; it was not sent."""

    def __init__(self, detail: str) -> None:
        super().__init__("message_too_big", detail)


class QueueFull(ClientError):
    """As much waits to be published as may wait, and no room came in `Config.queue_timeout`."""


class UnknownOutcome(ClientError):
    """A publication was sent and never confirmed: it may or may not have been published."""

    def __init__(self, id: str | None, why: str) -> None:
        super().__init__(f"it may or may not have been published: {why}")
        self.id = id


class ArrayError(ClientError, ValueError):
    """The bytes are not one acceptable `.npy` file, or the array has no such form."""


class ProtocolFault(ClientError):
    """The server said something that the protocol rules out."""


class Misuse(ClientError, RuntimeError):
    """Used where it cannot work; the text says what is wrong, and what to do."""


class PoolExhausted(ClientError, TimeoutError):
    """No connection became free in time."""

    def __init__(self, *, timeout: float, in_use: int, idle: int, limit: int, waiting: int) -> None:
        super().__init__(
            f"no connection became free within {timeout:g} s: {in_use} of {limit} in use, "
            f"{idle} idle, {waiting} others waiting"
        )
        self.in_use = in_use
        self.idle = idle
        self.limit = limit
        self.waiting = waiting


class PoolClosed(ClientError):
    """The pool is closed, or closing."""
