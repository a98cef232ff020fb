"""The `Authorization` header's Bearer form (RFC 6750, section 2.1)."""

import re
from collections.abc import Iterable

from realtime import errors

# The value of WWW-Authenticate in a 401.
CHALLENGE = 'Bearer realm="api"'

# What stands between commas, of which those in quotes are none. An open quote goes on to the end.
_PARTS = re.compile(rb'(?:[^,"]++|"(?:[^"\\]++|\\.)*+"?)++', re.DOTALL)
# `Bearer:` and `Bearer=` are ours, and malformed; `Bearerx` is a scheme of somebody else.
_OURS = re.compile(rb"bearer(?![!#$%&'*+.^_`|~0-9a-z-])", re.IGNORECASE)


def find_bearer(headers: Iterable[bytes]) -> str | None:
    """The token of the `Authorization: Bearer <token>` among the values of these headers.

    Other schemes are somebody else's business: a browser adds `Basic` by itself behind a proxy
    that asks for it. None where only such are there, or nothing. Raises InvalidToken for a Bearer
    that is malformed, and for several.
    """
    ours = [
        words for header in headers for words in _split_credentials(header) if _OURS.match(words[0])
    ]
    match ours:
        case []:
            return None
        case [[scheme, token]] if scheme.lower() == b"bearer":
            return token.decode("latin-1")
    raise errors.InvalidToken("Send one header: Authorization: Bearer <access token>.")


def _split_credentials(header: bytes) -> list[list[bytes]]:
    """The words of each credential. There are several where headers were joined to one."""
    credentials: list[list[bytes]] = []
    for part in _PARTS.findall(header):
        words = part.split()
        if not words:
            continue
        # `name=value` belongs to the credential before it.
        if not credentials or len(words) > 1 or words[0].lower() == b"bearer":
            credentials.append(words)
        else:
            credentials[-1] += words
    return credentials
