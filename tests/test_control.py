"""Ending sessions from Python code."""

import asyncio
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from realtime import adisconnect, disconnect, runtime
from realtime.core.close_codes import CloseCode
from realtime.core.identity import Identity
from realtime.runtime import Runtime
from realtime.sessions import Session
from tests.topics import wait_until


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Runtime]:
    """A runtime on this loop, as a server process has one (but without a database)."""
    made = Runtime(has_sessions=False)
    monkeypatch.setattr(runtime, "_server", made)
    yield made
    await made.pipeline.close()


class Door:
    """Opens sessions and notes how they end."""

    def __init__(self, running: Runtime) -> None:
        self.running = running
        self.ended: dict[str, CloseCode] = {}
        self.checked: list[str] = []

    def open(self, name: str, *, user: int | None = None, sid: str | None = None) -> Session:
        session = self.build(name, user=user, sid=sid)
        self.running.sessions.add(session)
        return session

    def build(self, name: str, *, user: int | None, sid: str | None = None) -> Session:
        def close(code: CloseCode, reason: str) -> None:
            self.ended[name] = code

        identity = Identity(SimpleNamespace(pk=user), sid, 0.0) if user is not None else None

        async def recheck(identity: Identity) -> None:
            self.checked.append(name)

        return Session(
            topic="broadcast:a",
            address="",
            user_agent="",
            close=close,
            recheck=recheck,
            id=name,
            identity=identity,
        )


async def test_one_session_all_of_a_user_or_all_of_a_sign_in_end(running: Runtime) -> None:
    door = Door(running)
    door.open("a", user=1, sid="s1")
    door.open("b", user=1, sid="s2")
    door.open("c", user=2, sid="s3")
    door.open("d")
    await adisconnect(session="d")
    assert door.ended == {"d": CloseCode.DISCONNECTED}
    await asyncio.to_thread(disconnect, sid="s2", code=CloseCode.REVOKED)
    assert door.ended.pop("b") is CloseCode.REVOKED
    await asyncio.to_thread(disconnect, user=SimpleNamespace(pk=2))
    assert door.ended.pop("c") is CloseCode.DISCONNECTED
    await asyncio.to_thread(disconnect, user=1)
    assert set(door.ended) == {"a", "b", "d"}


async def test_on_the_loop_itself_it_does_not_block(running: Runtime) -> None:
    door = Door(running)
    door.open("a", user=1)
    disconnect(user=1)
    assert door.ended == {}
    await wait_until(lambda: set(door.ended) == {"a"})


async def test_a_session_whose_handshake_was_under_way_ends_when_it_begins(
    running: Runtime,
) -> None:
    door = Door(running)
    under_way = door.build("early", user=1)
    await adisconnect(user=1, code=CloseCode.REVOKED)
    later = door.build("later", user=1)
    running.sessions.add(under_way)
    running.sessions.add(later)
    assert door.ended == {"early": CloseCode.REVOKED}


@pytest.mark.parametrize("target", [{}, {"session": "a", "user": 1}, {"user": 1, "sid": "s"}])
def test_exactly_one_target_is_given(target: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="one of session, user and sid"):
        disconnect(**target)


def test_where_no_server_can_be_reached_no_session_can_be_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, logger="realtime.control"):
        disconnect(user=1)
    assert "no server is reached" in caplog.text
