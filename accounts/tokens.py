"""Issuing, rotating and revoking tokens.

Every token names its sign-in (`sid`) and the user's version when it was made (`ver`), and in its
header the key that signed it (`kid`).
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

import jwt
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from rest_framework_simplejwt import tokens as simplejwt
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.utils import datetime_from_epoch

from accounts.keys import get_keys
from accounts.live_sessions import end_live_sessions
from accounts.metrics import ReusedToken
from accounts.models import SignIn, SpentToken, User
from accounts.validation import Claims, check_claims, decode_token

logger = logging.getLogger("accounts.tokens")


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
        return cls()._claim(sign_in)

    @classmethod
    def for_user(cls, user: Any, *, lifetime: timedelta | None = None) -> Self:
        """A new token of a new sign-in of that User; None is the setting's lifetime."""
        token = cls()
        token.set_exp(lifetime=lifetime)
        return token._claim(SignIn.objects.create(user=user, expires_at=token.expires_at))

    @property
    def expires_at(self) -> datetime:
        """The end of its time."""
        return datetime_from_epoch(self["exp"])

    def __str__(self) -> str:
        """The token as text, signed."""
        key = get_keys().present
        claims = {**self.payload, "iss": api_settings.ISSUER, "aud": api_settings.AUDIENCE}
        return jwt.encode(claims, key.signing, key.algorithm, headers={"kid": key.kid})

    def _claim(self, sign_in: SignIn) -> Self:
        self[api_settings.USER_ID_CLAIM] = str(sign_in.user_id)
        self["sid"] = str(sign_in.sid)
        self["ver"] = sign_in.user.token_version
        return self


class AccessToken(_SignInToken, simplejwt.AccessToken):
    """What a request or a session shows."""


class RefreshToken(_SignInToken, simplejwt.RefreshToken):
    """What gets the next pair. The database learns of it when it is spent, never its text."""

    access_token_class = AccessToken


def issue_tokens(user: User) -> TokenPair:
    """The first pair of a new sign-in. The caller has authenticated the user."""
    return _sign_pair(RefreshToken.for_user(user))


def issue_next_tokens(sign_in: SignIn) -> TokenPair:
    """A further pair of a sign-in, which lives on as long as that."""
    refresh = RefreshToken.for_sign_in(sign_in)
    SignIn.objects.filter(pk=sign_in.pk, expires_at__lt=refresh.expires_at).update(
        expires_at=refresh.expires_at
    )
    return _sign_pair(refresh)


def issue_access_token(*, user: User, lifetime: timedelta | None = None) -> str:
    """An access token of a new sign-in; `lifetime` is the setting's where it is None."""
    return str(AccessToken.for_user(user, lifetime=lifetime))


def rotate_refresh_token(token: str, *, now: datetime | None = None) -> TokenPair:
    """The next pair of the same sign-in; the given token is spent.

    Raises InvalidToken, or TokenExpired. Of any number of calls with one token one alone succeeds.
    The others get ReusedToken, and those that come late end the sign-in: see `end_if_stolen`.
    """
    now = now or timezone.now()
    claims = decode_token(token=token, kind="refresh")
    with transaction.atomic():
        # Locked, so that it cannot be deleted in between.
        sign_in = check_claims(claims, SignIn.objects.select_for_update(of=("self",)))
        spent, is_first = spend_refresh_token(claims=claims, sign_in=sign_in, now=now)
        if is_first:
            return issue_next_tokens(sign_in)
    raise end_if_stolen(spent, now=now)


def spend_refresh_token(
    *, claims: Claims, sign_in: SignIn, now: datetime
) -> tuple[SpentToken, bool]:
    """Mark a refresh token as used; True for the one caller who did, False for all after.

    The primary key decides, so that two concurrent calls cannot both win.
    """
    return SpentToken.objects.get_or_create(
        jti=claims.jti,
        defaults={
            "sign_in": sign_in,
            "spent_at": now,
            "expires_at": datetime_from_epoch(claims.exp),
        },
    )


def end_if_stolen(spent: SpentToken, *, now: datetime) -> ReusedToken:
    """What a second use of a refresh token leads to; returns the error to raise.

    Soon after the first one it is refused and no more: two tabs do that, and a client whose answer
    was lost. Later somebody has a copy, and nobody knows who of the two is the user: the sign-in
    ends for both. Call it outside of the transaction that the error would roll back.
    """
    if now - spent.spent_at > timedelta(seconds=settings.JWT_REUSE_GRACE_SECONDS):
        with transaction.atomic():
            revoke_sign_in(spent.sign_in_id, reason="its refresh token was used again")
        logger.warning(
            "sign-in revoked: its refresh token was used again", extra={"sid": spent.sign_in_id}
        )
    return ReusedToken("The refresh token has been used or revoked: sign in again.")


def revoke_refresh_token(token: str) -> None:
    """Sign out: end the token's sign-in with all that descends from it. Repeating is harmless.

    A spent or expired token does it too: it still proves which sign-in is meant. Raises
    InvalidToken where it is no refresh token of ours.
    """
    claims = decode_token(token=token, kind="refresh")
    with transaction.atomic():
        revoke_sign_in(claims.sid, reason="sign-out")


def revoke_sign_in(sid: UUID, *, reason: str = "the sign-in was revoked") -> None:
    """End a sign-in, its tokens and, on commit, its live sessions. Repeating is harmless."""
    SignIn.objects.filter(pk=sid, revoked_at=None).update(revoked_at=timezone.now())
    end_live_sessions(sid=str(sid), reason=reason)


def _sign_pair(refresh: RefreshToken) -> TokenPair:
    return TokenPair(access=str(refresh.access_token), refresh=str(refresh))
