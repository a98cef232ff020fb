"""Why a session ends: every WebSocket close code that the server uses, and what a client does then.

The table is section 7 of the protocol. No other module writes a close code as a number.
"""

from enum import IntEnum

# A server that lets an application choose only 1000 and 3000 to 4999 gets the codes
# below 3000 shifted by this much; a client shifts 3000 to 3099 back before it looks them up.
RESERVED_CODE_SHIFT = 2000


class CloseCode(IntEnum):
    """A close code; `final` says that a client should not come back with the same request."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_PAYLOAD = 1007
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    SLOW_CONSUMER = 4000
    TOKEN_EXPIRED = 4001
    DISCONNECTED = 4002
    RATE_LIMITED = 4003
    CONNECTION_LIMIT = 4004
    SLOW_SENDER = 4005
    BAD_REQUEST = 4500
    AUTHENTICATION_REQUIRED = 4501
    INVALID_TOKEN = 4502
    PERMISSION_DENIED = 4503
    UNKNOWN_TOPIC = 4504
    REVOKED = 4505

    @property
    def final(self) -> bool:
        """Whether a client gives up; every other code means: reconnect, with jitter."""
        return self in _FINAL


_FINAL = frozenset(
    {
        CloseCode.PROTOCOL_ERROR,
        CloseCode.UNSUPPORTED_DATA,
        CloseCode.INVALID_PAYLOAD,
        CloseCode.MESSAGE_TOO_BIG,
        CloseCode.MANDATORY_EXTENSION,
        CloseCode.BAD_REQUEST,
        CloseCode.AUTHENTICATION_REQUIRED,
        CloseCode.INVALID_TOKEN,
        CloseCode.PERMISSION_DENIED,
        CloseCode.UNKNOWN_TOPIC,
        CloseCode.REVOKED,
    }
)
