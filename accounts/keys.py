"""The keys of tokens: the one that signs, and the one before it until a date.

The header of a token names its key (`kid`), and a key has one algorithm. A token without a name,
which another program may have signed, is taken for one of the present key. What else a token says
about how it wants to be verified (`alg`, `jwk`, `jku`, `x5u`) decides nothing.
"""

import base64
import hashlib
import hmac
import json
import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from jwt.algorithms import Algorithm, HMACAlgorithm, get_default_algorithms

ALGORITHMS = (
    *("HS256", "HS384", "HS512"),
    *("RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
    "EdDSA",
)

# RFC 7638, section 3.2, and RFC 8037, section 2: what identifies a public key.
_THUMBPRINT_MEMBERS = {
    "RSA": ("e", "kty", "n"),
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
}


@dataclass(frozen=True, slots=True)
class Key:
    """A key with its one algorithm. `signing` is None for a public key alone.

    `until` is when tokens of it are no longer accepted, in seconds since the epoch.
    """

    kid: str
    algorithm: str
    verifying: Any = field(repr=False)
    signing: Any = field(repr=False)
    until: float = math.inf


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Both keys."""

    present: Key
    previous: Key | None = None

    def find(self, kid: object, *, now: float) -> Key | None:
        """The key of that id, where its tokens are accepted at that time; None for any other.

        The id None is that of the present key.
        """
        if kid is None:
            return self.present
        for key in (self.present, self.previous):
            if key is not None and key.kid == kid and now < key.until:
                return key
        return None

    def has_signed(self, token: str, *, now: float) -> bool:
        """Whether the signature is one of ours; takes microseconds, and says nothing more.

        The header is not looked at: whether it is the right one for the key is for the whole
        check to say.
        """
        signed, _, signature = token.rpartition(".")
        try:
            digest = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        except ValueError:
            return False
        return any(
            now < key.until
            and _find_way(key.algorithm).verify(signed.encode(), key.verifying, digest)
            for key in (self.present, self.previous)
            if key is not None
        )


def get_keys() -> KeyRing:
    """The keys that the settings name; raises ImproperlyConfigured, which quotes no key."""
    return _build_ring(
        settings.SIMPLE_JWT["ALGORITHM"],
        settings.SIMPLE_JWT["SIGNING_KEY"],
        settings.JWT_PREVIOUS_ALGORITHM,
        settings.JWT_PREVIOUS_KEY,
        settings.JWT_PREVIOUS_KEY_UNTIL,
    )


@lru_cache(maxsize=4)
def _build_ring(
    algorithm: str, key: str, previous_algorithm: str, previous_key: str, until: str
) -> KeyRing:
    present = build_key(key, algorithm, name="JWT_SIGNING_KEY")
    if present.signing is None:
        raise ImproperlyConfigured("JWT_SIGNING_KEY is a public key: it takes the private one.")
    if not previous_key:
        if until:
            raise ImproperlyConfigured("JWT_PREVIOUS_KEY_UNTIL is set and JWT_PREVIOUS_KEY is not.")
        return KeyRing(present)
    previous = build_key(previous_key, previous_algorithm, name="JWT_PREVIOUS_KEY")
    if previous.kid == present.kid:
        raise ImproperlyConfigured("JWT_PREVIOUS_KEY is the same key as JWT_SIGNING_KEY.")
    return KeyRing(present, replace(previous, until=_parse_date(until)))


def build_key(text: str, algorithm: str, *, name: str) -> Key:
    """A key from its text: a secret for HS…, else PEM; `name` is what an error calls it.

    Raises ImproperlyConfigured where it is weak, or does not fit the algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise ImproperlyConfigured(
            f"The algorithm of {name} is {algorithm!r}: it has to be one of {', '.join(ALGORITHMS)}"
        )
    way = _find_way(algorithm)
    try:
        key = way.prepare_key(text)
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError) as error:
        form = "a secret, not PEM" if algorithm.startswith("HS") else "unencrypted PEM of its kind"
        raise ImproperlyConfigured(
            f"{name} does not fit {algorithm}, which takes {form}"
        ) from error
    weakness = way.check_key_length(key)
    if weakness is not None:
        raise ImproperlyConfigured(f"{name} is weak: {weakness}")
    if isinstance(way, HMACAlgorithm):
        return Key(_digest_secret(key), algorithm, verifying=key, signing=key)
    is_private = hasattr(key, "public_key")
    public = key.public_key() if is_private else key
    return Key(
        _digest_public_key(way.to_jwk(public, as_dict=True)),
        algorithm,
        verifying=public,
        signing=key if is_private else None,
    )


@lru_cache(maxsize=len(ALGORITHMS))
def _find_way(algorithm: str) -> Algorithm:
    way: Algorithm = get_default_algorithms()[algorithm]
    return way


def _digest_secret(secret: bytes) -> str:
    return _encode(hmac.new(secret, b"key id", hashlib.sha256).digest()[:16])


def _digest_public_key(jwk: dict[str, Any]) -> str:
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS[jwk["kty"]]}
    return _encode(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


def _encode(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _parse_date(text: str) -> float:
    """Seconds since the epoch of a date (0:00 UTC) or a time with its offset (RFC 3339)."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ImproperlyConfigured(
            "JWT_PREVIOUS_KEY needs JWT_PREVIOUS_KEY_UNTIL, until when its tokens are accepted: "
            "a date such as 2030-01-31, or a time such as 2030-01-31T12:00:00Z"
        ) from error
    if moment.tzinfo is None:
        if len(text) > len("2030-01-31"):
            raise ImproperlyConfigured("JWT_PREVIOUS_KEY_UNTIL lacks its offset, such as Z for UTC")
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
