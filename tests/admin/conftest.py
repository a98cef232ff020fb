"""What the admin does to sessions, noted instead of done."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from accounts.models import User
from realtime.admin import endings
from realtime.audit import Act, Actor
from realtime.core.close_codes import CloseCode
from realtime.sessions import Target
from tests.demo.conftest import browser, visit

__all__ = ["browser", "visit"]  # a browser as for the dashboard


@dataclass
class Told:
    """Whom the servers were told to disconnect; `failure` is raised instead."""

    sessions: list[str] = field(default_factory=list)
    users: list[tuple[Any, CloseCode]] = field(default_factory=list)
    failure: Exception | None = None

    def end(
        self, targets: Sequence[Target], *, code: CloseCode, actor: Actor, reason: str = ""
    ) -> None:
        if self.failure is not None:
            raise self.failure
        for target in targets:
            if target.session is not None:
                self.sessions.append(target.session)
            else:
                self.users.append((User.objects.get(pk=target.user).username, code))
        assert actor.door == "admin"
        Act("", actor, targets, code, reason).write()


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    """Nobody signs in with a password here: why take a tenth of a second to hash one?"""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    made = Told()
    monkeypatch.setattr(endings, "end_sessions", made.end)
    return made
