"""Who opens a WebSocket: reads the credential of a handshake and hides it from all after.

The credential in the first message is the consumer's to read; it is given the means.
"""

import logging
from collections.abc import Iterable

from django.contrib.auth.models import AnonymousUser
from django.db import Error as DatabaseFault

from accounts.asgi_types import ASGIApp, Receive, Scope, Send
from accounts.bearer import parse_bearer
from accounts.keys import get_keys
from accounts.metrics import count_bad_token
from accounts.validation import avalidate_access_token
from realtime import Identity, errors

logger = logging.getLogger("accounts")

BEARER_SUBPROTOCOL = "realtime.bearer."

_AUTHORIZATION = b"authorization"
_SUBPROTOCOL = b"sec-websocket-protocol"

Headers = Iterable[tuple[bytes, bytes]]


class TokenMiddleware:
    """Puts four keys into a WebSocket's scope, and takes the credential out of it.

    - `user`: the User, or AnonymousUser
    - `identity`: the Identity, or None where no good credential came
    - `auth_error`: the InvalidToken or TokenExpired that the credential gave, Unavailable where
      it could not be looked at, or None
    - `authenticate`: an async function, token → Identity, for a credential that comes later
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        get_keys()  # a server whose keys are wrong does not start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Never refuses: how to close, and with which code, is the consumer's business."""
        if scope["type"] == "websocket":
            await _sign_in(scope)
        await self.app(scope, receive, send)


async def _sign_in(scope: Scope) -> None:
    """In place: a copy of the scope, or the token in a variable, would live with the session."""
    identity: Identity | None = None
    auth_error: errors.CodedError | None = None
    try:
        token = find_token(headers=scope["headers"], subprotocols=scope["subprotocols"])
        if token is not None:
            identity = await avalidate_access_token(token)
    except errors.InvalidToken as error:
        count_bad_token("websocket", error)
        auth_error = error
    except DatabaseFault as error:
        logger.error("a token could not be checked: %s", error)
        auth_error = errors.Unavailable("Tokens cannot be checked now: try again in a moment.")
    hide_credentials(scope)
    scope["user"] = AnonymousUser() if identity is None else identity.user
    scope["identity"] = identity
    scope["auth_error"] = auth_error
    scope["authenticate"] = _authenticate


async def _authenticate(token: str) -> Identity:
    try:
        identity: Identity = await avalidate_access_token(token)
    except errors.InvalidToken as error:
        count_bad_token("websocket", error)
        raise
    return identity


def find_token(*, headers: Headers, subprotocols: Iterable[str]) -> str | None:
    """The first credential, None where there is none; InvalidToken for a malformed one."""
    authorization = [value for name, value in headers if name == _AUTHORIZATION]
    if authorization:
        # Two such headers are joined to one that is malformed.
        return parse_bearer(b", ".join(authorization))
    for subprotocol in subprotocols:
        if subprotocol.startswith(BEARER_SUBPROTOCOL):
            token = subprotocol.removeprefix(BEARER_SUBPROTOCOL)
            if not token:
                raise errors.InvalidToken(
                    f"Offer the subprotocol as: {BEARER_SUBPROTOCOL}<access token>."
                )
            return token
    return None


def hide_credentials(scope: Scope) -> None:
    """Take every credential out of the scope's headers and subprotocols."""
    scope["subprotocols"] = [
        subprotocol
        for subprotocol in scope["subprotocols"]
        if not subprotocol.startswith(BEARER_SUBPROTOCOL)
    ]
    scope["headers"] = _clean_headers(scope["headers"])


def _clean_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    clean: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        if name == _SUBPROTOCOL:
            offered = [part.strip() for part in value.split(b",")]
            kept = [part for part in offered if not part.startswith(BEARER_SUBPROTOCOL.encode())]
            if kept:
                clean.append((name, b", ".join(kept)))
        elif name != _AUTHORIZATION:
            clean.append((name, value))
    return clean
