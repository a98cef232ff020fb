"""The one chain of checks that every token passes, over REST and over WebSocket alike.

    well formed → key → signature, algorithm, issuer, audience → type → expiry
    → its sign-in and user exist → user active → version matches → sign-in not revoked

Each step raises `InvalidToken`, or `TokenExpired` where the expiry is the only fault of the
token itself. No text of an error holds any part of the token. One database query in all.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal
from uuid import UUID

import jwt
import msgspec
from channels.db import database_sync_to_async
from django.db import Error as DatabaseFault
from django.db.models import QuerySet
from rest_framework_simplejwt.settings import api_settings

from accounts.keys import get_keys
from accounts.models import MAX_JTI_LENGTH, SignIn
from realtime import Identity, errors

logger = logging.getLogger("accounts")

MAX_TOKEN_BYTES = 8 * 1024
# The end of the year 9999: later times have no date that could be told.
MAX_EXPIRY = 253_402_300_799
# Between the clocks of two instances: a token from the future by less than this is no forgery.
CLOCK_SKEW_SECONDS = 5
# Sign-ins in one query.
BATCH = 5000
# How long a WebSocket waits until its token has been looked up, in seconds.
LOOK_UP_SECONDS = 5.0
# Tokens that are looked up at the same time, apart from whatever else runs in threads.
LOOK_UPS = 4

TokenKind = Literal["access", "refresh"]


class Claims(msgspec.Struct, frozen=True):
    """What a token of ours claims; `iat` and `exp` in seconds since the epoch."""

    token_type: str
    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_JTI_LENGTH)]
    iat: int
    exp: Annotated[int, msgspec.Meta(le=MAX_EXPIRY)]
    user_id: str
    sid: UUID
    ver: int


def validate_access_token(token: str) -> Identity:
    """The identity that an access token proves. Raises InvalidToken or TokenExpired."""
    claims = decode_token(token=token, kind="access")
    sign_in = check_claims(claims)
    return Identity(user=sign_in.user, sid=str(sign_in.sid), expires_at=float(claims.exp))


_look_up = database_sync_to_async(
    validate_access_token,
    thread_sensitive=False,
    executor=ThreadPoolExecutor(LOOK_UPS, thread_name_prefix="tokens"),
)


async def avalidate_access_token(token: str) -> Identity:
    """The same in a thread. Raises Unavailable too, where the database gives no answer in time.

    Those who have waited `LOOK_UP_SECONDS` go, also from the queue before the threads.
    """
    deadline = asyncio.timeout(LOOK_UP_SECONDS)
    try:
        async with deadline:
            identity: Identity = await _look_up(token)
    except DatabaseFault as error:
        raise _give_up(error) from error
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise _give_up(f"no answer within {LOOK_UP_SECONDS:g} s") from error
    return identity


def _give_up(why: object) -> errors.Unavailable:
    logger.error("a token could not be checked: %s", why)
    return errors.Unavailable("tokens cannot be checked now; try again in a moment")


def reload_identities(identities: Sequence[Identity]) -> list[Identity | None]:
    """The same identities with their users read anew, in the same order; None for one that ended.

    It ended where its user was deleted, deactivated or given another version (by a new password),
    or its sign-in revoked. One query for each 5,000 sign-ins.
    """
    sids = list({identity.sid for identity in identities if identity.sid is not None})
    found: dict[str, SignIn] = {}
    for start in range(0, len(sids), BATCH):
        batch = sids[start : start + BATCH]
        for sign_in in SignIn.objects.filter(pk__in=batch).select_related("user").order_by():
            found[str(sign_in.sid)] = sign_in
    return [_renew_identity(identity, found.get(identity.sid or "")) for identity in identities]


def _renew_identity(identity: Identity, sign_in: SignIn | None) -> Identity | None:
    if (
        sign_in is None
        or sign_in.revoked_at is not None
        or sign_in.user_id != identity.user.pk
        or not sign_in.user.is_active
        or sign_in.user.token_version != identity.user.token_version
    ):
        return None
    return Identity(user=sign_in.user, sid=identity.sid, expires_at=identity.expires_at)


def decode_token(*, token: str, kind: TokenKind) -> Claims:
    """The claims of a token that we signed, for us, of that kind; it may have expired."""
    check_form(token)
    claims = verify_signature(token)
    if claims.token_type != kind:
        raise errors.InvalidToken(f"This is no {kind} token.")
    return claims


def find_sid(token: str, *, kind: TokenKind) -> str | None:
    """The sign-in that a token is of; None where it is not of ours, or not of that kind.

    Whether the token is still good is not looked at.
    """
    try:
        return str(decode_token(token=token, kind=kind).sid)
    except errors.InvalidToken:
        return None


def check_claims(claims: Claims, sign_ins: QuerySet[SignIn] | None = None) -> SignIn:
    """The sign-in, of these, with its user, for which these claims still hold."""
    check_expiry(claims)
    sign_in = load_sign_in(claims, SignIn.objects.all() if sign_ins is None else sign_ins)
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

    Which key is the token's to say, of those that we have; which algorithm is the key's alone.

    PyJWT and not simplejwt's classes, which look at the expiry first and so would call an
    expired token of the wrong audience or type merely expired.
    """
    try:
        kid = jwt.get_unverified_header(token).get("kid")  # a text, where there is one
        key = get_keys().find(kid, now=time.time())
        if key is None:
            raise errors.InvalidToken("The token was not signed with a key of this server.")
        payload = jwt.decode(
            token,
            key.verifying,
            algorithms=[key.algorithm],
            audience=api_settings.AUDIENCE,
            issuer=api_settings.ISSUER,
            leeway=CLOCK_SKEW_SECONDS,
            options={"verify_exp": False},
        )
        return msgspec.convert(payload, type=Claims)
    except (jwt.InvalidTokenError, msgspec.ValidationError) as error:
        raise errors.InvalidToken("The token is malformed, or was not made for here.") from error


def check_expiry(claims: Claims) -> None:
    """Refuse a token whose time is over."""
    if claims.exp <= time.time():
        raise errors.TokenExpired("The token has expired: get a new one.")


def load_sign_in(claims: Claims, sign_ins: QuerySet[SignIn]) -> SignIn:
    """The sign-in of a token, with its user loaded; both go when the user is deleted."""
    try:
        sign_in = sign_ins.select_related("user").get(pk=claims.sid)
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
