"""Users, tokens good and bad, and a record of what live sessions were told."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import jwt
import pytest
from django.core.cache import caches
from django.db import transaction
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework_simplejwt.settings import api_settings

import realtime
from accounts.keys import get_keys
from accounts.models import SignIn, User


@pytest.fixture(autouse=True)
def _fast_and_unthrottled(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    for cache in ("default", "process"):
        caches[cache].clear()


@pytest.fixture
def password() -> str:
    return "correct horse battery staple"


@pytest.fixture
def user(db: None, password: str) -> User:
    return User.objects.create_user("ada", password=password)


@pytest.fixture
def sign_in(user: User) -> SignIn:
    return SignIn.objects.create(user=user, expires_at=timezone.now())


@pytest.fixture
def api() -> APIClient:
    return APIClient()


@pytest.fixture
def forge(sign_in: SignIn) -> Callable[..., str]:
    """Signs a token of `sign_in` from right claims, the given ones changed (None: left out)."""

    def make(
        *,
        key: Any = None,
        algorithm: str | None = None,
        headers: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        present = get_keys().present
        now = int(time.time())
        claims = {
            "token_type": "access",
            "jti": uuid4().hex,
            "iat": now,
            "exp": now + 60,
            "iss": api_settings.ISSUER,
            "aud": api_settings.AUDIENCE,
            "user_id": str(sign_in.user_id),
            "sid": str(sign_in.sid),
            "ver": sign_in.user.token_version,
            **changes,
        }
        return jwt.encode(
            {name: value for name, value in claims.items() if value is not None},
            present.signing if key is None else key,
            algorithm or present.algorithm,
            headers={"kid": present.kid} if headers is None else headers,
        )

    return make


@pytest.fixture
def disconnected(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `realtime.disconnect` did, when that was due: at the commit."""
    return _record(monkeypatch, "disconnect")


@pytest.fixture
def rechecked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `realtime.recheck` did, when that was due: at the commit."""
    return _record(monkeypatch, "recheck")


def _record(monkeypatch: pytest.MonkeyPatch, name: str) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def note(*, on_commit: bool, reason: str, **kwargs: Any) -> None:
        assert on_commit
        assert reason
        transaction.on_commit(lambda: calls.append(kwargs))

    monkeypatch.setitem(vars(realtime), name, note)
    return calls
