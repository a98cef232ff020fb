"""What a close code, or a refused handshake, means: come back, when, or give up.

The table is section Close codes of the protocol.
"""

import re
from dataclasses import dataclass
from enum import Enum, IntEnum


class Code(IntEnum):
    """The close codes that decide something here; every other code means: come back."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    ABNORMAL = 1006
    INVALID_PAYLOAD = 1007
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    TOKEN_EXPIRED = 4001
    BAD_REQUEST = 4500
    AUTHENTICATION_REQUIRED = 4501
    INVALID_TOKEN = 4502
    PERMISSION_DENIED = 4503
    UNKNOWN_TOPIC = 4504
    REVOKED = 4505


_FINAL = frozenset(Code) - {
    *(Code.NORMAL, Code.ABNORMAL, Code.SERVICE_RESTART, Code.TRY_AGAIN_LATER, Code.TOKEN_EXPIRED)
}
# The connection broke, and the server did not say why.
SAY_NOTHING = frozenset({1001, 1005, Code.ABNORMAL})
_TELL_WHEN = (Code.SERVICE_RESTART, Code.TRY_AGAIN_LATER)

# Some servers let an application send no code below 3000 but 1000, so they add this.
_SHIFT = 2000
_SHIFTED = range(3000, 3100)

_RETRY_AFTER = re.compile(r"retry_after=([0-9]+(?:\.[0-9]+)?)", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)
# Longer than this (s) nobody is told to wait by mistake.
LONGEST_WAIT = 24 * 3600.0

_RETRIED_STATUSES = (408, 425, 429, *range(500, 600))


class TokenSource(Enum):
    """Where the token of a stream comes from."""

    NONE = "none"
    FIXED = "fixed"
    CALLABLE = "callable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to give up; else the delay in seconds that the server named, if it named one."""

    is_final: bool
    delay: float | None = None
    needs_new_token: bool = False


def unshift_code(code: int) -> int:
    """The code that the server meant."""
    return code - _SHIFT if code in _SHIFTED else code


def judge_close(
    code: int,
    reason: str,
    *,
    token: TokenSource,
    began_by_client: bool = False,
    expired_before: bool = False,
) -> Verdict:
    """What to do after a connection ended with a close code (1006 where there was none).

    `expired_before`: a 4001 came already, and no session has begun since.
    """
    code = unshift_code(code)
    if began_by_client or code in _FINAL:
        return Verdict(is_final=True)
    if code == Code.TOKEN_EXPIRED:
        renews = token is TokenSource.CALLABLE
        # Without a new token there may be another credential, such as a header of `Config`.
        return Verdict(is_final=expired_before and not renews, needs_new_token=renews)
    told = _RETRY_AFTER.fullmatch(reason) if code in _TELL_WHEN else None
    return Verdict(is_final=False, delay=min(float(told[1]), LONGEST_WAIT) if told else None)


def judge_handshake(status: int, retry_after: str | None) -> Verdict:
    """What to do after an HTTP status that is not 101."""
    if status not in _RETRIED_STATUSES:
        return Verdict(is_final=True)
    told = _SECONDS.fullmatch(retry_after or "")
    return Verdict(is_final=False, delay=min(float(told[0]), LONGEST_WAIT) if told else None)
