"""Issuing, rotating and revoking."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
from django.utils import timezone

from accounts.metrics import ReusedToken
from accounts.models import SignIn, SpentToken, User
from accounts.tokens import (
    AccessToken,
    RefreshToken,
    issue_access_token,
    issue_tokens,
    revoke_refresh_token,
    revoke_sign_in,
    rotate_refresh_token,
    spend_refresh_token,
)
from accounts.validation import decode_token, validate_access_token
from realtime import CloseCode, errors


def claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def test_both_tokens_of_a_pair_carry_every_claim_and_one_sign_in(user: User) -> None:
    pair = issue_tokens(user)
    sign_in = SignIn.objects.get()
    for token, token_type in ((pair.access, "access"), (pair.refresh, "refresh")):
        carried = claims(token)
        assert carried["token_type"] == token_type
        assert carried["sid"] == str(sign_in.sid)
        assert carried["ver"] == 0
        assert carried["user_id"] == str(user.pk)
        assert {"iss", "aud", "exp", "jti"} <= carried.keys()
    assert claims(pair.access)["jti"] != claims(pair.refresh)["jti"]
    assert validate_access_token(pair.access).user == user


@pytest.mark.parametrize("token_class", [AccessToken, RefreshToken])
def test_a_token_made_the_way_of_simplejwt_descends_from_a_sign_in_too(
    token_class: Any, user: User
) -> None:
    token = token_class.for_user(user)
    assert token["sid"] == str(SignIn.objects.get().sid)
    assert token["ver"] == 0


def test_a_lifetime_can_be_given(user: User) -> None:
    token = issue_access_token(user=user, lifetime=timedelta(seconds=7))
    assert claims(token)["exp"] - claims(token)["iat"] == 7


def test_rotation_keeps_the_sign_in_and_renews_everything_else(user: User) -> None:
    first = issue_tokens(user)
    second = rotate_refresh_token(first.refresh)
    assert claims(second.access)["sid"] == claims(first.access)["sid"]
    assert len({claims(t)["jti"] for t in (first.refresh, second.refresh, second.access)}) == 3
    assert validate_access_token(second.access).user == user
    assert validate_access_token(first.access).user == user
    rotate_refresh_token(second.refresh)


def test_a_refresh_token_works_once(user: User) -> None:
    pair = issue_tokens(user)
    rotate_refresh_token(pair.refresh)
    with pytest.raises(ReusedToken, match="used or revoked"):
        rotate_refresh_token(pair.refresh)


def test_of_two_that_both_found_a_token_unspent_one_alone_spends_it(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = decode_token(token=issue_tokens(user).refresh, kind="refresh")
    shared = {"claims": spent, "sign_in": SignIn.objects.get(), "now": timezone.now()}
    assert spend_refresh_token(**shared)[1]

    # The second one looks before the first has inserted: the lookup finds nothing.
    real_get = type(SpentToken.objects.all()).get
    looks = []

    def get(queryset: Any, **lookup: Any) -> Any:
        looks.append(queryset.model)
        if len(looks) == 1:
            raise SpentToken.DoesNotExist
        return real_get(queryset, **lookup)

    monkeypatch.setattr(type(SpentToken.objects.all()), "get", get)
    assert not spend_refresh_token(**shared)[1]
    assert looks == [SpentToken, SpentToken]


@pytest.mark.parametrize("seconds", [0, 10])
def test_a_second_use_soon_after_the_first_is_refused_and_ends_nothing(
    user: User, seconds: int, disconnected: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    pair, now = issue_tokens(user), timezone.now()
    rotated = rotate_refresh_token(pair.refresh, now=now)
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(ReusedToken):
        rotate_refresh_token(pair.refresh, now=now + timedelta(seconds=seconds))
    assert validate_access_token(rotated.access).user == user
    assert disconnected == []


def test_a_later_second_use_ends_the_sign_in_for_both(
    user: User,
    disconnected: list[Any],
    django_capture_on_commit_callbacks: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pair, other, now = issue_tokens(user), issue_tokens(user), timezone.now()
    rotated = rotate_refresh_token(pair.refresh, now=now)
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(ReusedToken):
        rotate_refresh_token(pair.refresh, now=now + timedelta(seconds=10.1))
    for access in (pair.access, rotated.access):
        with pytest.raises(errors.InvalidToken, match="revoked"):
            validate_access_token(access)
    with pytest.raises(errors.InvalidToken, match="revoked"):
        rotate_refresh_token(rotated.refresh)
    sid = claims(pair.access)["sid"]
    assert disconnected == [{"user": None, "sid": sid, "code": CloseCode.REVOKED}]
    validate_access_token(other.access)
    assert "used again" in caplog.text


def test_the_grace_is_a_setting(user: User, settings: Any) -> None:
    settings.JWT_REUSE_GRACE_SECONDS = 0.0
    pair, now = issue_tokens(user), timezone.now()
    rotated = rotate_refresh_token(pair.refresh, now=now)
    with pytest.raises(ReusedToken):
        rotate_refresh_token(pair.refresh, now=now + timedelta(seconds=1))
    with pytest.raises(errors.InvalidToken, match="revoked"):
        validate_access_token(rotated.access)


def test_the_database_holds_no_refresh_token(user: User) -> None:
    pair = issue_tokens(user)
    assert not SpentToken.objects.exists()
    rotate_refresh_token(pair.refresh)
    spent = SpentToken.objects.get()
    assert spent.sign_in == SignIn.objects.get()
    assert spent.expires_at == datetime.fromtimestamp(claims(pair.refresh)["exp"], UTC)
    assert pair.refresh not in str(SpentToken.objects.values())


def test_a_sign_in_ends_with_the_last_of_its_tokens(user: User, settings: Any) -> None:
    def expiry(token: str) -> datetime:
        return datetime.fromtimestamp(claims(token)["exp"], UTC)

    pair = issue_tokens(user)
    assert SignIn.objects.get().expires_at == expiry(pair.refresh)
    SignIn.objects.update(expires_at=timezone.now())
    rotated = rotate_refresh_token(pair.refresh)
    assert SignIn.objects.get().expires_at == expiry(rotated.refresh)
    # One that lasts longer already is not cut short.
    far = timezone.now() + timedelta(days=1000)
    SignIn.objects.update(expires_at=far)
    rotate_refresh_token(rotated.refresh)
    assert SignIn.objects.get().expires_at == far
    SignIn.objects.all().delete()
    access = issue_access_token(user=user, lifetime=timedelta(days=100))
    assert SignIn.objects.get().expires_at == expiry(access)


def test_an_access_token_refreshes_nothing(user: User) -> None:
    with pytest.raises(errors.InvalidToken, match="no refresh token"):
        rotate_refresh_token(issue_tokens(user).access)


def test_an_expired_refresh_token_is_told_apart(forge: Any) -> None:
    with pytest.raises(errors.TokenExpired):
        rotate_refresh_token(forge(token_type="refresh", exp=int(time.time()) - 1))


def test_a_new_password_ends_refresh_tokens(user: User) -> None:
    pair = issue_tokens(user)
    user.set_password("another good password")
    user.save()
    with pytest.raises(errors.InvalidToken):
        rotate_refresh_token(pair.refresh)


def test_revoking_ends_every_token_of_that_sign_in_and_no_other(
    user: User, disconnected: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    first, other = issue_tokens(user), issue_tokens(user)
    rotated = rotate_refresh_token(first.refresh)
    with django_capture_on_commit_callbacks(execute=True):
        revoke_refresh_token(rotated.refresh)
        assert disconnected == []
    for access in (first.access, rotated.access):
        with pytest.raises(errors.InvalidToken, match="revoked"):
            validate_access_token(access)
    with pytest.raises(errors.InvalidToken, match="revoked"):
        rotate_refresh_token(rotated.refresh)
    assert disconnected == [
        {"user": None, "sid": claims(first.access)["sid"], "code": CloseCode.REVOKED}
    ]
    validate_access_token(other.access)


def test_revoking_twice_keeps_the_first_time_and_announces_again(
    user: User, disconnected: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    sid = UUID(claims(issue_tokens(user).access)["sid"])
    revoke_sign_in(sid)
    revoked_at = SignIn.objects.get().revoked_at
    assert revoked_at is not None
    with django_capture_on_commit_callbacks(execute=True):
        revoke_sign_in(sid)
    assert SignIn.objects.get().revoked_at == revoked_at
    assert [call["sid"] for call in disconnected] == [str(sid)]


def test_a_spent_or_expired_refresh_token_still_signs_out(user: User, forge: Any) -> None:
    pair = issue_tokens(user)
    rotated = rotate_refresh_token(pair.refresh)
    revoke_refresh_token(pair.refresh)
    with pytest.raises(errors.InvalidToken):
        rotate_refresh_token(rotated.refresh)
    revoke_refresh_token(forge(token_type="refresh", exp=int(time.time()) - 1))
    assert not SignIn.objects.filter(revoked_at=None).exists()


def test_signing_out_a_deleted_user_is_harmless(user: User) -> None:
    pair = issue_tokens(user)
    user.delete()
    revoke_refresh_token(pair.refresh)
    assert not SignIn.objects.exists()
