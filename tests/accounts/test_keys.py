"""The keys of tokens, their ids, and what keys are refused."""

import math
import re
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from django.core.exceptions import ImproperlyConfigured

from accounts.keys import ALGORITHMS, build_key, get_keys
from accounts.tokens import issue_tokens
from accounts.validation import validate_access_token
from realtime import errors

SECRET = "a secret of sixty-four characters or more, as long as HS512 wants"
OTHER = SECRET[::-1]


def write_pem(key: Any, password: bytes | None = None) -> str:
    how = NoEncryption() if password is None else BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how).decode()


def write_public(key: Any) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEMS = {
    "HS": SECRET,
    "RS": write_pem(RSA),
    "PS": write_pem(RSA),
    "ES256": write_pem(ec.generate_private_key(ec.SECP256R1())),
    "ES384": write_pem(ec.generate_private_key(ec.SECP384R1())),
    "ES512": write_pem(ec.generate_private_key(ec.SECP521R1())),
    "EdDSA": write_pem(ed25519.Ed25519PrivateKey.generate()),
}


def key_text(algorithm: str) -> str:
    return PEMS.get(algorithm) or PEMS[algorithm[:2]]


def sign_with(settings: Any, algorithm: str, key: str | None = None) -> None:
    """Make it the present key."""
    settings.SIMPLE_JWT = {
        **settings.SIMPLE_JWT,
        "ALGORITHM": algorithm,
        "SIGNING_KEY": key or key_text(algorithm),
    }


def keep(settings: Any, algorithm: str, key: str | None = None, until: str = "2999-01-01") -> None:
    """Make it the previous key."""
    settings.JWT_PREVIOUS_ALGORITHM = algorithm
    settings.JWT_PREVIOUS_KEY = key or key_text(algorithm)
    settings.JWT_PREVIOUS_KEY_UNTIL = until


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_signs_tokens_that_are_accepted(
    algorithm: str, settings: Any, user: Any
) -> None:
    sign_with(settings, algorithm)
    access = issue_tokens(user).access
    header = jwt.get_unverified_header(access)
    assert (header["alg"], header["kid"]) == (algorithm, get_keys().present.kid)
    assert validate_access_token(access).user == user


def test_the_id_of_a_public_key_is_its_thumbprint() -> None:
    # The example of RFC 7638, section 3.1.
    jwk = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tS"
        "oc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0"
        "_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4"
        "vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
    }
    pem = jwt.PyJWK(jwk, "RS256").key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key = build_key(pem.decode(), "RS256", name="it")
    assert key.kid == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert key.signing is None


def test_the_id_of_a_secret_says_nothing_of_it_and_differs_from_that_of_another() -> None:
    kids = {build_key(text, "HS256", name="it").kid for text in (SECRET, SECRET, OTHER)}
    assert len(kids) == 2
    assert all(re.fullmatch(r"[\w-]{22}", kid) for kid in kids)


def test_a_key_shows_no_secret_when_it_is_printed(settings: Any) -> None:
    sign_with(settings, "HS256")
    assert "secret" not in repr(get_keys())


@pytest.mark.parametrize(
    ("old", "new"), [("HS256", "RS256"), ("RS256", "ES256"), ("ES256", "HS512")]
)
def test_after_a_rotation_tokens_of_the_old_key_are_accepted_and_of_the_new_one_issued(
    old: str, new: str, settings: Any, user: Any
) -> None:
    sign_with(settings, old)
    before = issue_tokens(user).access
    sign_with(settings, new)
    with pytest.raises(errors.InvalidToken, match="key"):
        validate_access_token(before)
    keep(settings, old)
    assert validate_access_token(before).user == user
    after = issue_tokens(user).access
    assert jwt.get_unverified_header(after)["alg"] == new
    assert validate_access_token(after).user == user
    keep(settings, old, until="2020-01-01")
    with pytest.raises(errors.InvalidToken, match="key"):
        validate_access_token(before)


def test_the_public_half_of_a_previous_key_is_enough(settings: Any, user: Any) -> None:
    sign_with(settings, "RS256")
    before = issue_tokens(user).access
    sign_with(settings, "HS256")
    keep(settings, "RS256", write_public(RSA))
    assert validate_access_token(before).user == user


def test_each_key_is_good_for_its_own_algorithm_alone(settings: Any, forge: Any) -> None:
    sign_with(settings, "RS256")
    keep(settings, "HS256")
    ring = get_keys()
    assert ring.previous is not None
    validate_access_token(forge())
    validate_access_token(forge(key=SECRET, algorithm="HS256", headers={"kid": ring.previous.kid}))
    for kid, algorithm, key in (
        (ring.present.kid, "HS256", SECRET),
        (ring.present.kid, "PS256", RSA),
        (ring.present.kid, "RS512", RSA),
        (ring.previous.kid, "RS256", RSA),
        (ring.previous.kid, "HS512", SECRET),
    ):
        with pytest.raises(errors.InvalidToken):
            validate_access_token(forge(key=key, algorithm=algorithm, headers={"kid": kid}))


@pytest.mark.parametrize(
    ("until", "moment"),
    [
        ("2030-01-31", 1896048000.0),
        ("2030-01-31T12:00:00Z", 1896091200.0),
        ("2030-01-31T12:00:00+02:00", 1896084000.0),
    ],
)
def test_the_date_is_one_of_rfc_3339(settings: Any, until: str, moment: float) -> None:
    sign_with(settings, "HS256")
    keep(settings, "HS256", OTHER, until)
    ring = get_keys()
    assert ring.previous is not None
    assert ring.previous.until == moment
    assert ring.present.until == math.inf
    assert ring.find(ring.previous.kid, now=moment - 1) == ring.previous
    assert ring.find(ring.previous.kid, now=moment) is None
    assert ring.find(None, now=moment) == ring.present
    assert ring.find("another", now=moment) is None


@pytest.mark.parametrize(
    ("algorithm", "text", "says"),
    [
        ("none", SECRET, "has to be one of"),
        ("hs256", SECRET, "has to be one of"),
        ("HS256", "x" * 31, "weak"),
        ("HS512", "x" * 63, "weak"),
        ("HS256", write_public(RSA), "a secret, not PEM"),
        ("HS256", "", "does not fit"),
        ("RS256", write_pem(rsa.generate_private_key(65537, 1024)), "weak"),
        ("RS256", SECRET, "PEM"),
        ("RS256", "", "PEM"),
        ("RS256", PEMS["ES256"], "does not fit RS256"),
        ("RS256", write_pem(RSA, b"password"), "unencrypted"),
        ("RS256", write_public(RSA), "it takes the private one"),
        ("ES256", PEMS["ES384"], "does not fit ES256"),
        ("ES256", PEMS["RS"], "does not fit ES256"),
        ("EdDSA", PEMS["ES256"], "does not fit EdDSA"),
    ],
)
def test_a_key_that_does_not_fit_or_is_weak_is_refused_and_not_quoted(
    algorithm: str, text: str, says: str, settings: Any
) -> None:
    settings.SIMPLE_JWT = {**settings.SIMPLE_JWT, "ALGORITHM": algorithm, "SIGNING_KEY": text}
    with pytest.raises(ImproperlyConfigured, match=says) as caught:
        get_keys()
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "until", "says"),
    [
        (OTHER, "", "needs JWT_PREVIOUS_KEY_UNTIL"),
        (OTHER, "soon", "such as 2030-01-31"),
        (OTHER, "2030-01-31T12:00:00", "offset"),
        ("", "2030-01-31", "JWT_PREVIOUS_KEY is not"),
        ("short", "2030-01-31", "JWT_PREVIOUS_KEY is weak"),
        (SECRET, "2030-01-31", "the same key"),
    ],
)
def test_a_previous_key_that_is_wrong_is_refused(
    key: str, until: str, says: str, settings: Any
) -> None:
    sign_with(settings, "HS256")
    settings.JWT_PREVIOUS_ALGORITHM = "HS256"
    settings.JWT_PREVIOUS_KEY = key
    settings.JWT_PREVIOUS_KEY_UNTIL = until
    with pytest.raises(ImproperlyConfigured, match=says):
        get_keys()
