"""The chain of checks that every token passes."""

import base64
import json
import time
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts.models import SignIn, User
from accounts.validation import MAX_TOKEN_BYTES, avalidate_access_token, validate_access_token
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
    refusal(f"{segment({'alg': 'none', 'typ': 'JWT'})}.{payload}.")
    refusal(f"{segment({'alg': 'None', 'typ': 'JWT'})}.{payload}.")
    refusal(f"{header}.{payload}.")


def test_an_asymmetric_algorithm_is_refused(forge: Any) -> None:
    claims = jwt.decode(forge(), options={"verify_signature": False})
    private_key = generate_private_key(public_exponent=65537, key_size=2048)
    refusal(jwt.encode(claims, private_key, "RS256"))


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


@settings(max_examples=150, deadline=None)
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


def test_the_asynchronous_form_is_the_same_chain() -> None:
    assert avalidate_access_token.func is validate_access_token
