"""Sessions without a socket, for tests of what only keeps count of them."""

from types import SimpleNamespace
from typing import Any

from realtime.core.close_codes import CloseCode
from realtime.core.identity import Identity
from realtime.sessions import Session


def build_identity(user: int = 7, *, sid: str = "sign-in", expires_at: float = 2e9) -> Identity:
    return Identity(SimpleNamespace(pk=user, get_username=lambda: f"user {user}"), sid, expires_at)


class StubSession:
    """A session that notes the codes it was told to end with, and whom it was checked for."""

    def __init__(self, topic: str = "broadcast:lobby", **options: Any) -> None:
        self.codes: list[CloseCode] = []
        self.checked: list[Identity] = []
        self.session = Session(
            **{"topic": topic, "address": "127.0.0.1", "user_agent": "tests", **options},
            close=lambda code, reason: self.codes.append(code),
            recheck=self._recheck,
        )

    async def _recheck(self, identity: Identity) -> None:
        self.checked.append(identity)
