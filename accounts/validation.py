"""The one chain of checks that every token passes, over REST and over WebSocket alike.

    well formed → signature, algorithm, issuer, audience → type → expiry
    → its sign-in and user exist → user active → version matches → sign-in not revoked

Each step raises `InvalidToken`, or `TokenExpired` where the expiry is the only fault of the
token itself. No text of an error holds any part of the token. One database query in all.
"""

import time
from typing import Literal
from uuid import UUID

import jwt
import msgspec
from channels.db import database_sync_to_async
from rest_framework_simplejwt.state import token_backend

from accounts.models import SignIn
from realtime import Identity, errors

MAX_TOKEN_BYTES = 8 * 1024

TokenType = Literal["access", "refresh"]


class Claims(msgspec.Struct, frozen=True):
    """What a token of ours claims; `exp` in seconds since the epoch."""

    token_type: str
    jti: str
    exp: int
    user_id: str
    sid: UUID
    ver: int


def validate_access_token(token: str) -> Identity:
    """The identity that an access token proves. Raises InvalidToken or TokenExpired."""
    claims = decode_token(token=token, token_type="access")  # noqa: S106 (a type, no secret)
    sign_in = check_claims(claims)
    return Identity(user=sign_in.user, sid=str(sign_in.sid), expires_at=float(claims.exp))


avalidate_access_token = database_sync_to_async(validate_access_token)


def decode_token(*, token: str, token_type: TokenType) -> Claims:
    """The claims of a token that we signed, for us, of that type; it may have expired."""
    check_form(token)
    claims = verify_signature(token)
    if claims.token_type != token_type:
        raise errors.InvalidToken(f"This is no {token_type} token.")
    return claims


def check_claims(claims: Claims) -> SignIn:
    """The sign-in, with its user, for which these claims still hold."""
    check_expiry(claims)
    sign_in = load_sign_in(claims)
    check_user_active(sign_in)
    check_token_version(claims=claims, sign_in=sign_in)
    check_not_revoked(sign_in)
    return sign_in


def check_form(token: str) -> None:
    """Refuse, before any decoding, what is too long or holds what no token does."""
    if len(token) > MAX_TOKEN_BYTES:
        raise errors.InvalidToken(f"The token is longer than {MAX_TOKEN_BYTES} bytes.")
    if not token.isascii():
        raise errors.InvalidToken("The token is malformed.")


def verify_signature(token: str) -> Claims:
    """Verify signature, algorithm, issuer, audience and start; the expiry is the next step's.

    PyJWT and not simplejwt's classes, which look at the expiry first and so would call an
    expired token of the wrong audience or type merely expired.
    """
    try:
        payload = jwt.decode(
            token,
            token_backend.get_verifying_key(token),  # type: ignore[arg-type]  # it takes the text
            algorithms=[token_backend.algorithm],
            audience=token_backend.audience,
            issuer=token_backend.issuer,
            leeway=token_backend.get_leeway(),
            options={"verify_exp": False},
        )
        return msgspec.convert(payload, type=Claims)
    except (jwt.InvalidTokenError, msgspec.ValidationError) as error:
        raise errors.InvalidToken("The token is malformed, or was not made for here.") from error


def check_expiry(claims: Claims) -> None:
    """Refuse a token whose time is over."""
    if claims.exp <= time.time() - token_backend.get_leeway().total_seconds():
        raise errors.TokenExpired("The token has expired: get a new one.")


def load_sign_in(claims: Claims) -> SignIn:
    """The sign-in of a token, with its user loaded; both go when the user is deleted."""
    try:
        sign_in = SignIn.objects.select_related("user").get(pk=claims.sid)
    except SignIn.DoesNotExist as error:
        raise errors.InvalidToken("The token's user or sign-in does not exist.") from error
    if str(sign_in.user_id) != claims.user_id:
        raise errors.InvalidToken("The token's sign-in is another user's.")
    return sign_in


def check_user_active(sign_in: SignIn) -> None:
    """Refuse a user who has been deactivated."""
    if not sign_in.user.is_active:
        raise errors.InvalidToken("The token's user is not active.")


def check_token_version(*, claims: Claims, sign_in: SignIn) -> None:
    """Refuse a token from before the user's latest new password or deactivation."""
    if claims.ver != sign_in.user.token_version:
        raise errors.InvalidToken(
            "The token is from before a new password or a deactivation: sign in again."
        )


def check_not_revoked(sign_in: SignIn) -> None:
    """Refuse a sign-in that was signed out."""
    if sign_in.revoked_at is not None:
        raise errors.InvalidToken("The token's sign-in has been revoked: sign in again.")
