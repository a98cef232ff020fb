"""Everything that can go wrong, as exceptions.

A coded error is what a client sees: over a WebSocket as an `error` message, over REST as
`{"code", "detail"}`. Its text says what to change.

    RealtimeError
    ├── CodedError (code, detail)
    │   ├── InvalidJSON (ValueError)
    │   ├── InvalidMessage (ValueError)
    │   ├── InvalidArray (ValueError)
    │   │   └── ArrayTooBig
    │   ├── InvalidParameter (ValueError)
    │   ├── MessageTooBig (ValueError)
    │   ├── RateLimited
    │   ├── PermissionDenied (PermissionError)
    │   ├── NotSupported (TypeError)
    │   ├── NotFound (LookupError)
    │   ├── UnknownTopic (LookupError)
    │   ├── AuthenticationRequired (PermissionError)
    │   ├── InvalidToken (ValueError)
    │   │   └── TokenExpired
    │   ├── TokenInQuery (ValueError)
    │   ├── Rejected (ValueError)
    │   └── Unavailable (ConnectionError)
    │       └── Refused                    known not to have been done
    ├── NotRunning (RuntimeError)          publish() where nobody could hear it
    └── IllegalTransition (RuntimeError)   a bug: a state machine was pushed the wrong way
"""

from enum import StrEnum
from typing import ClassVar


class ErrorCode(StrEnum):
    """The `code` of an `error` message: section 7 of the protocol."""

    INVALID_JSON = "invalid_json"
    INVALID_MESSAGE = "invalid_message"
    INVALID_ARRAY = "invalid_array"
    INVALID_PARAMETER = "invalid_parameter"
    MESSAGE_TOO_BIG = "message_too_big"
    RATE_LIMITED = "rate_limited"
    PERMISSION_DENIED = "permission_denied"
    NOT_SUPPORTED = "not_supported"
    NOT_FOUND = "not_found"
    UNKNOWN_TOPIC = "unknown_topic"
    AUTHENTICATION_REQUIRED = "authentication_required"
    INVALID_TOKEN = "invalid_token"  # noqa: S105 (a code, not a secret)
    TOKEN_IN_QUERY = "token_in_query"  # noqa: S105
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


# Codes that count as the client's mistake: too many of them end the session.
MISTAKES = frozenset(
    {
        ErrorCode.INVALID_JSON,
        ErrorCode.INVALID_MESSAGE,
        ErrorCode.INVALID_ARRAY,
        ErrorCode.INVALID_PARAMETER,
        ErrorCode.INVALID_TOKEN,
        ErrorCode.NOT_SUPPORTED,
        ErrorCode.MESSAGE_TOO_BIG,
    }
)


class RealtimeError(Exception):
    """The root of this package's exceptions."""


class CodedError(RealtimeError):
    """An error with a code for the client and a text that says what to change."""

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidJSON(CodedError, ValueError):
    """The text is not one strict JSON object."""

    code = ErrorCode.INVALID_JSON


class InvalidMessage(CodedError, ValueError):
    """The JSON is well formed, but not a message of the protocol."""

    code = ErrorCode.INVALID_MESSAGE


class InvalidArray(CodedError, ValueError):
    """The bytes are not one acceptable `.npy` file."""

    code = ErrorCode.INVALID_ARRAY


class ArrayTooBig(InvalidArray):
    """No machine has the memory for an array of this shape."""


class InvalidParameter(CodedError, ValueError):
    """A query parameter or an option is unknown or malformed."""

    code = ErrorCode.INVALID_PARAMETER


class MessageTooBig(CodedError, ValueError):
    """A publication, or a requested result, is over its limit."""

    code = ErrorCode.MESSAGE_TOO_BIG


class RateLimited(CodedError):
    """Too much at once: send less, or later."""

    code = ErrorCode.RATE_LIMITED


class PermissionDenied(CodedError, PermissionError):
    """The namespace's policy does not let this user do that."""

    code = ErrorCode.PERMISSION_DENIED


class NotSupported(CodedError, TypeError):
    """This kind of topic, or this server, does not do that."""

    code = ErrorCode.NOT_SUPPORTED


class NotFound(CodedError, LookupError):
    """The thing that was named does not exist."""

    code = ErrorCode.NOT_FOUND


class UnknownTopic(CodedError, LookupError):
    """No namespace has that name, or the topic's name is malformed."""

    code = ErrorCode.UNKNOWN_TOPIC


class AuthenticationRequired(CodedError, PermissionError):
    """No credential came, or not in time."""

    code = ErrorCode.AUTHENTICATION_REQUIRED


class InvalidToken(CodedError, ValueError):
    """The credential is no valid access token of an active user."""

    code = ErrorCode.INVALID_TOKEN


class TokenExpired(InvalidToken):
    """A well-signed access token whose time is over."""


class TokenInQuery(CodedError, ValueError):
    """A credential stood in the URL, where logs and histories would keep it."""

    code = ErrorCode.TOKEN_IN_QUERY


class Rejected(CodedError, ValueError):
    """A namespace's processor refused the data."""

    code = ErrorCode.REJECTED


class Unavailable(CodedError, ConnectionError):
    """Not confirmed: it may or may not have been done. Repeat with the same `id`."""

    code = ErrorCode.UNAVAILABLE


class Refused(Unavailable):
    """The store has refused it, so it was not done. Repeating it later does no harm."""


class NotRunning(RealtimeError, RuntimeError):
    """Nobody could hear this publication: no server in this process, and no Redis."""


class IllegalTransition(RealtimeError, RuntimeError):
    """A state machine was asked for a transition that it does not have."""
