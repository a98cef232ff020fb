"""The chain of checks that every token passes."""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from threading import Barrier, Event
from typing import Any
from uuid import UUID

import jwt
import pytest
from asgiref.sync import async_to_sync
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from django.db import OperationalError
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts import validation
from accounts.keys import get_keys
from accounts.models import SignIn, User
from accounts.tokens import issue_access_token
from accounts.validation import (
    LOOK_UPS,
    MAX_TOKEN_BYTES,
    avalidate_access_token,
    reload_identities,
    validate_access_token,
)
from realtime import Identity, errors


def refusal(token: str) -> errors.InvalidToken:
    """The error that the token gives, which must not quote it."""
    with pytest.raises(errors.InvalidToken) as caught:
        validate_access_token(token)
    assert len(token) < 8 or token not in str(caught.value)
    return caught.value


def segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_good_token_gives_user_sign_in_and_expiry_in_one_query(
    forge: Any, sign_in: SignIn, django_assert_num_queries: Any
) -> None:
    expiry = int(time.time()) + 30
    token = forge(exp=expiry)
    with django_assert_num_queries(1):
        identity = validate_access_token(token)
    assert identity == Identity(user=sign_in.user, sid=str(sign_in.sid), expires_at=expiry)


def test_an_expired_token_is_told_apart(forge: Any) -> None:
    assert type(refusal(forge(exp=int(time.time())))) is errors.TokenExpired


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "f" * 64},
        {"algorithm": "HS512"},
        {"iss": "elsewhere"},
        {"iss": None},
        {"aud": "elsewhere"},
        {"aud": None},
        {"token_type": "refresh"},
        {"token_type": "untyped"},
        {"token_type": None},
        {"jti": None},
        {"jti": ""},
        {"jti": "x" * 65},
        {"iat": None},
        {"headers": {"kid": "another"}},
        {"headers": {"kid": ""}},
        {"sid": None},
        {"sid": "no uuid"},
        {"ver": None},
        {"ver": "0"},
        {"user_id": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("expired", [False, True])
def test_a_wrong_or_missing_claim_is_invalid_and_not_merely_expired(
    forge: Any, changes: dict[str, Any], expired: bool
) -> None:
    age = {"exp": int(time.time()) - 5} if expired else {}
    assert type(refusal(forge(**changes, **age))) is errors.InvalidToken


@pytest.mark.parametrize(
    "changes", [{"sid": str(UUID(int=1))}, {"ver": 1}, {"user_id": "0"}], ids=str
)
def test_a_claim_that_the_database_does_not_bear_out_is_invalid(
    forge: Any, changes: dict[str, Any]
) -> None:
    assert type(refusal(forge(**changes))) is errors.InvalidToken


@pytest.mark.parametrize(
    "changes",
    [{"nbf": time.time() + 3600}, {"iat": time.time() + 3600}, {"exp": None}, {"exp": "soon"}],
    ids=["nbf", "iat", "no exp", "exp of text"],
)
def test_a_token_out_of_its_time_is_invalid(forge: Any, changes: dict[str, Any]) -> None:
    assert type(refusal(forge(**changes))) is errors.InvalidToken


def test_the_algorithm_none_is_refused(forge: Any) -> None:
    header, payload, _ = forge().split(".")
    kid = get_keys().present.kid
    for alg in ("none", "None", "NONE", "nOnE", ""):
        refusal(f"{segment({'alg': alg, 'typ': 'JWT', 'kid': kid})}.{payload}.")
    refusal(f"{header}.{payload}.")


def test_an_asymmetric_algorithm_is_refused(forge: Any) -> None:
    claims = jwt.decode(forge(), options={"verify_signature": False})
    private_key = generate_private_key(public_exponent=65537, key_size=2048)
    refusal(jwt.encode(claims, private_key, "RS256", headers={"kid": get_keys().present.kid}))


def test_a_changed_payload_is_refused(forge: Any) -> None:
    header, payload, signature = forge().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    refusal(f"{header}.{segment({**claims, 'ver': 5})}.{signature}")


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "garbage",
        "a.b.c",
        "ключ.б.в",
        "\ud800.b.c",
        "\x00.\x00.\x00",
        segment([]) + ".e30.e30",
        segment({"alg": ["HS256"]}) + ".e30.e30",
        segment({"alg": "HS256", "kid": 5}) + ".e30.e30",
        segment({"alg": "HS256", "b64": False, "crit": ["b64"]}) + "..e30",
        # Deeper than a JSON parser's recursion limit, and a number of more digits than int() takes.
        base64.urlsafe_b64encode(b"[" * 4000).decode() + ".e30.e30",
        base64.urlsafe_b64encode(b'{"alg":' + b"9" * 4400 + b"}").decode() + ".e30.e30",
    ],
    ids=lambda token: ascii(token[:20]),
)
def test_garbage_is_invalid(token: str) -> None:
    assert type(refusal(token)) is errors.InvalidToken


@settings(max_examples=150)
@given(
    header=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64"]), inner)
        ),
        max_leaves=6,
    ),
    rest=st.text(max_size=30),
)
def test_no_header_gives_anything_but_a_coded_error(header: Any, rest: str) -> None:
    refusal(f"{segment(header)}.{rest}")


def test_a_huge_token_is_refused_before_it_is_decoded(
    forge: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = forge(filler="x" * MAX_TOKEN_BYTES)

    def decode(*_: Any, **__: Any) -> None:
        pytest.fail("decoded")

    monkeypatch.setattr(jwt, "decode", decode)
    assert "8192" in refusal(token).detail


@pytest.mark.usefixtures("sign_in")
def test_a_deleted_users_token_is_invalid(forge: Any, user: User) -> None:
    token = forge()
    user.delete()
    assert type(refusal(token)) is errors.InvalidToken


def test_an_inactive_users_token_is_invalid_however_it_was_deactivated(
    forge: Any, user: User
) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert "not active" in refusal(forge()).detail


def test_a_token_from_before_a_new_password_is_invalid(forge: Any, user: User) -> None:
    token = forge()
    user.set_password("another good password")
    user.save()
    assert "new password" in refusal(token).detail
    validate_access_token(forge(ver=1))


def test_a_revoked_sign_ins_token_is_invalid(forge: Any, sign_in: SignIn) -> None:
    SignIn.objects.update(revoked_at=timezone.now())
    assert "revoked" in refusal(forge()).detail


def test_the_cause_is_chained(forge: Any) -> None:
    assert isinstance(refusal(forge(iss="elsewhere")).__cause__, jwt.InvalidIssuerError)


# From the loop


@pytest.mark.django_db(transaction=True)
def test_the_asynchronous_form_is_the_same_chain(forge: Any, sign_in: SignIn) -> None:
    validate = async_to_sync(avalidate_access_token)
    token = forge()
    assert validate(token) == validate_access_token(token)
    with pytest.raises(errors.TokenExpired):
        validate(forge(exp=int(time.time()) - 1))


@pytest.fixture
def look_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], SignIn]], None]:
    """Makes this function the look-up in the database."""

    def set_look_up(found: Callable[[], SignIn]) -> None:
        monkeypatch.setattr(validation, "load_sign_in", lambda claims, sign_ins: found())

    return set_look_up


async def look_up_many(token: str, times: int) -> list[Any]:
    calls = [avalidate_access_token(token) for _ in range(times)]
    return await asyncio.gather(*calls, return_exceptions=True)


def test_tokens_are_looked_up_side_by_side(forge: Any, sign_in: SignIn, look_up: Any) -> None:
    together = Barrier(LOOK_UPS)

    def meet() -> SignIn:
        together.wait(8)
        return sign_in

    look_up(meet)
    identities = async_to_sync(look_up_many)(forge(), LOOK_UPS)
    assert [identity.user for identity in identities] == [sign_in.user] * LOOK_UPS


def test_a_database_that_hangs_keeps_nobody_waiting_for_long(
    forge: Any, sign_in: SignIn, look_up: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "LOOK_UP_SECONDS", 0.1)
    begun: list[None] = []
    is_back = Event()

    def hang() -> SignIn:
        begun.append(None)
        is_back.wait(8)
        return sign_in

    look_up(hang)
    try:
        refused = async_to_sync(look_up_many)(forge(), 5 * LOOK_UPS)
        assert [type(each) for each in refused] == [errors.Unavailable] * 5 * LOOK_UPS
        assert not is_back.is_set()
    finally:
        is_back.set()
    monkeypatch.setattr(validation, "LOOK_UP_SECONDS", 8)
    (identity,) = async_to_sync(look_up_many)(forge(), 1)
    assert identity.user == sign_in.user
    assert len(begun) == LOOK_UPS + 1  # who has given up waiting is not looked up any more


def test_a_database_that_is_away_is_told_as_unavailable(
    forge: Any, look_up: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> SignIn:
        raise OperationalError("no route to the database")

    look_up(fail)
    (refused,) = async_to_sync(look_up_many)(forge(), 1)
    assert isinstance(refused, errors.Unavailable)
    assert "no route" not in refused.detail
    assert "no route" in caplog.text


# Looking at live sessions anew


def identify(user: User) -> Identity:
    return validate_access_token(issue_access_token(user=user))


def test_identities_get_their_users_anew_in_order_and_in_one_query(
    user: User, django_assert_num_queries: Any
) -> None:
    grace = User.objects.create_user("grace")
    identities = [identify(user), identify(grace), identify(user)]
    identities.append(identities[0])
    User.objects.filter(pk=user.pk).update(is_staff=True)
    with django_assert_num_queries(1):
        found = reload_identities(identities)
    assert found == identities  # users are equal by their keys
    assert [one.user.is_staff for one in found if one is not None] == [True, False, True, True]
    assert found[0] is not None
    assert found[0].user is not identities[0].user
    assert reload_identities([]) == []


def change_password(user: User) -> None:
    user.set_password("another good password")
    user.save()


ENDINGS: list[Callable[[User], Any]] = [
    change_password,
    lambda user: User.objects.update(is_active=False),
    lambda user: User.objects.update(token_version=7),
    lambda user: user.delete(),
    lambda user: SignIn.objects.update(revoked_at=timezone.now()),
    lambda user: SignIn.objects.all().delete(),
]


@pytest.mark.parametrize("end", ENDINGS, ids=range(len(ENDINGS)))
def test_an_identity_that_ended_is_none(user: User, end: Callable[[User], Any]) -> None:
    identity = identify(User.objects.get(pk=user.pk))
    assert reload_identities([identity]) == [identity]
    end(user)
    assert reload_identities([identity]) == [None]


def test_an_identity_of_no_sign_in_or_of_another_users_is_none(user: User) -> None:
    identity = identify(user)
    other = User.objects.create_user("grace")
    assert reload_identities(
        [replace(identity, sid=None), replace(identity, user=other), identity]
    ) == [None, None, identity]


def test_many_identities_take_one_query_for_each_batch(
    user: User, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(validation, "BATCH", 2)
    identities = [identify(user) for _ in range(5)]
    with django_assert_num_queries(3):
        assert reload_identities(identities) == identities
