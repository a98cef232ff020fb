"""Users, tokens good and bad, and a record of who was disconnected."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import jwt
import pytest
from django.core.cache import cache
from rest_framework.test import APIClient
from rest_framework_simplejwt.state import token_backend

import realtime
from accounts.models import SignIn, User


@pytest.fixture(autouse=True)
def _fast_and_unthrottled(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()


@pytest.fixture
def password() -> str:
    return "correct horse battery staple"


@pytest.fixture
def user(db: None, password: str) -> User:
    return User.objects.create_user("ada", password=password)


@pytest.fixture
def sign_in(user: User) -> SignIn:
    return SignIn.objects.create(user=user)


@pytest.fixture
def api() -> APIClient:
    return APIClient()


@pytest.fixture
def forge(sign_in: SignIn) -> Callable[..., str]:
    """Signs a token of `sign_in` from right claims, the given ones changed (None: left out)."""

    def make(*, key: str | None = None, algorithm: str = "HS256", **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "token_type": "access",
            "jti": uuid4().hex,
            "iat": now,
            "exp": now + 60,
            "iss": token_backend.issuer,
            "aud": token_backend.audience,
            "user_id": str(sign_in.user_id),
            "sid": str(sign_in.sid),
            "ver": sign_in.user.token_version,
            **changes,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, token_backend.signing_key if key is None else key, algorithm)

    return make


@pytest.fixture
def disconnected(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of each call of `realtime.disconnect`."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setitem(vars(realtime), "disconnect", lambda **kwargs: calls.append(kwargs))
    return calls
