"""The `Authorization` header's Bearer form (RFC 6750, section 2.1)."""

from realtime import errors

# The value of WWW-Authenticate in a 401.
CHALLENGE = 'Bearer realm="api"'


def parse_bearer(header: bytes) -> str:
    """The token of a header `Bearer <token>`. Raises InvalidToken for anything else."""
    match header.split():
        case [scheme, token] if scheme.lower() == b"bearer":
            return token.decode("latin-1")
    raise errors.InvalidToken("Send the header as: Authorization: Bearer <access token>.")
