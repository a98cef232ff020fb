"""What the admin does to sessions, noted instead of done."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from realtime.admin import endings
from realtime.core.close_codes import CloseCode
from tests.demo.conftest import browser, visit

__all__ = ["browser", "visit"]  # a browser as for the dashboard


@dataclass
class Told:
    """Whom the servers were told to disconnect; `failure` is raised instead."""

    sessions: list[str] = field(default_factory=list)
    users: list[tuple[Any, CloseCode]] = field(default_factory=list)
    failure: Exception | None = None

    def disconnect(
        self,
        *,
        session: str | None = None,
        user: Any = None,
        code: CloseCode = CloseCode.DISCONNECTED,
    ) -> None:
        if self.failure is not None:
            raise self.failure
        if session is not None:
            self.sessions.append(session)
        else:
            self.users.append((user.get_username(), code))


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    """Nobody signs in with a password here: why take a tenth of a second to hash one?"""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    made = Told()
    monkeypatch.setattr(endings, "disconnect", made.disconnect)
    monkeypatch.setattr(endings, "find_runtime", lambda: None)
    return made
