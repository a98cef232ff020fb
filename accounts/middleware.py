"""Who opens a WebSocket: reads the credential of a handshake and hides it from all after.

When the credential is looked at is the consumer's to say: it may have reasons to refuse before.
One in the first message is the consumer's to read; it is given the means.
"""

import time
from collections.abc import Awaitable, Callable, Iterable

from django.contrib.auth.models import AnonymousUser

from accounts.asgi_types import ASGIApp, Receive, Scope, Send
from accounts.bearer import find_bearer
from accounts.keys import get_keys
from accounts.metrics import count_bad_token
from accounts.validation import avalidate_access_token, check_form
from realtime import Identity, errors

BEARER_SUBPROTOCOL = "realtime.bearer."

_AUTHORIZATION = b"authorization"
_SUBPROTOCOL = b"sec-websocket-protocol"

Headers = Iterable[tuple[bytes, bytes]]


class TokenMiddleware:
    """Puts three keys into a WebSocket's scope, and takes the credential out of it.

    - `user`: AnonymousUser; the consumer puts the User there
    - `identify`: an async function without arguments → the Identity, or None where no credential
      came. It holds the credential: take it out of the scope to call it
    - `authenticate`: an async function, token → Identity, for a credential that comes later

    Both raise InvalidToken, TokenExpired, or Unavailable where it cannot be looked at now.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        get_keys()  # a server whose keys are wrong does not start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Never refuses: how to close, and with which code, is the consumer's business."""
        if scope["type"] == "websocket":
            _hand_over(scope)
        await self.app(scope, receive, send)


def _hand_over(scope: Scope) -> None:
    """In place: a copy of the scope, or the token in a variable, would live with the session."""
    scope["user"] = AnonymousUser()
    scope["identify"] = _build_identify(scope["headers"], scope["subprotocols"])
    scope["authenticate"] = _authenticate
    hide_credentials(scope)


def _build_identify(
    headers: Headers, subprotocols: Iterable[str]
) -> Callable[[], Awaitable[Identity | None]]:
    async def identify() -> Identity | None:
        try:
            token = find_token(headers=headers, subprotocols=subprotocols)
        except errors.InvalidToken as error:
            count_bad_token("websocket", error)
            raise
        return None if token is None else await _authenticate(token)

    return identify


async def _authenticate(token: str) -> Identity:
    try:
        return await avalidate_access_token(token)
    except errors.InvalidToken as error:
        count_bad_token("websocket", error)
        raise


def find_token(*, headers: Headers, subprotocols: Iterable[str]) -> str | None:
    """The first credential, None where there is none; InvalidToken for a malformed one."""
    token = find_bearer(value for name, value in headers if name == _AUTHORIZATION)
    if token is not None:
        return token
    for subprotocol in subprotocols:
        if subprotocol.startswith(BEARER_SUBPROTOCOL):
            token = subprotocol.removeprefix(BEARER_SUBPROTOCOL)
            if not token:
                raise errors.InvalidToken(
                    f"Offer the subprotocol as: {BEARER_SUBPROTOCOL}<access token>."
                )
            return token
    return None


def has_foreign_token(scope: Scope) -> bool:
    """Whether an HTTP or WebSocket scope brings a token that was not signed here.

    Only its form and its signature are looked at, which takes microseconds.
    """
    try:
        token = find_token(headers=scope["headers"], subprotocols=scope.get("subprotocols") or ())
        if token is None:
            return False
        check_form(token)
    except errors.InvalidToken:
        return True
    return not get_keys().has_signed(token, now=time.time())


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
