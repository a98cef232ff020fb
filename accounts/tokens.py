"""Issuing, rotating and revoking tokens.

Every token names its sign-in (`sid`) and the user's version when it was made (`ver`).
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from rest_framework_simplejwt import tokens as simplejwt
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.utils import datetime_from_epoch

from accounts.live_sessions import end_live_sessions
from accounts.models import SignIn, User
from accounts.validation import Claims, check_claims, decode_token
from realtime import errors


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A fresh access token, and the refresh token that gets the next one, once."""

    access: str
    refresh: str


class _SignInToken(simplejwt.Token):
    """A token that descends from a sign-in."""

    @classmethod
    def for_sign_in(cls, sign_in: SignIn) -> Self:
        """A new token of that sign-in, for its user's present version."""
        token = cls()
        token[api_settings.USER_ID_CLAIM] = str(sign_in.user_id)
        token["sid"] = str(sign_in.sid)
        token["ver"] = sign_in.user.token_version
        return token

    @classmethod
    def for_user(cls, user: Any) -> Self:
        """A new token of a new sign-in of that User."""
        return cls.for_sign_in(SignIn.objects.create(user=user))


class AccessToken(_SignInToken, simplejwt.AccessToken):
    """What a request or a session shows."""


class RefreshToken(_SignInToken, simplejwt.RefreshToken):
    """What gets the next pair. The database learns of it when it is spent, never its text."""

    access_token_class = AccessToken


def issue_tokens(user: User) -> TokenPair:
    """The first pair of a new sign-in. The caller has authenticated the user."""
    return _sign_pair(RefreshToken.for_user(user))


def issue_access_token(*, user: User, lifetime: timedelta | None = None) -> str:
    """An access token of a new sign-in; `lifetime` is the setting's where it is None."""
    token = AccessToken.for_user(user)
    if lifetime is not None:
        token.set_exp(lifetime=lifetime)
    return str(token)


def rotate_refresh_token(token: str) -> TokenPair:
    """The next pair of the same sign-in; the given token is spent.

    Raises InvalidToken, or TokenExpired. Of two calls with one token one alone succeeds.
    """
    claims = decode_token(token=token, token_type="refresh")  # noqa: S106 (a type, no secret)
    sign_in = check_claims(claims)
    with transaction.atomic():
        if not spend_refresh_token(claims=claims, user=sign_in.user):
            raise errors.InvalidToken("The refresh token has been used or revoked: sign in again.")
        return _sign_pair(RefreshToken.for_sign_in(sign_in))


def revoke_refresh_token(token: str) -> None:
    """Sign out: end the token's sign-in with all that descends from it. Repeating is harmless.

    A spent or expired token does it too: it still proves which sign-in is meant. Raises
    InvalidToken where it is no refresh token of ours.
    """
    claims = decode_token(token=token, token_type="refresh")  # noqa: S106 (a type, no secret)
    with transaction.atomic():
        user = User.objects.filter(sign_ins=claims.sid).first()
        spend_refresh_token(claims=claims, user=user)
        revoke_sign_in(claims.sid)


def revoke_sign_in(sid: UUID) -> None:
    """End a sign-in, its tokens and, on commit, its live sessions. Repeating is harmless."""
    SignIn.objects.filter(pk=sid, revoked_at=None).update(revoked_at=timezone.now())
    end_live_sessions(sid=str(sid))


def spend_refresh_token(*, claims: Claims, user: User | None) -> bool:
    """Blacklist a refresh token; True for the one caller who did, False for all after.

    The unique columns decide (`jti`, then the blacklist's one row for it), so that two
    concurrent calls cannot both win. The token's text is not stored: a copy of the database
    shall hold no credentials.
    """
    outstanding, _ = OutstandingToken.objects.get_or_create(
        jti=claims.jti,
        defaults={
            "user": user,
            "created_at": timezone.now(),
            "token": "",
            "expires_at": datetime_from_epoch(claims.exp),
        },
    )
    _, spent_now = BlacklistedToken.objects.get_or_create(token=outstanding)
    return spent_now


def _sign_pair(refresh: RefreshToken) -> TokenPair:
    return TokenPair(access=str(refresh.access_token), refresh=str(refresh))
