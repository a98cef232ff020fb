"""Ending sessions from Python code."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from realtime import acting_as, adisconnect, arecheck, disconnect, recheck, runtime
from realtime.audit import find_actor
from realtime.control import end_sessions
from realtime.core.close_codes import CloseCode
from realtime.core.errors import NotRunning, Unavailable
from realtime.core.identity import Identity
from realtime.runtime import Runtime
from realtime.sessions import Session, Target
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


# Who did it


def read_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of each line that says who did what."""
    return [vars(one) for one in caplog.records if one.name == "realtime.audit"]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    caplog.set_level(logging.INFO, logger="realtime.audit")
    return lambda: read_lines(caplog)


async def test_every_ending_by_code_leaves_a_line_that_says_who_and_why(
    running: Runtime, told: Callable[[], list[dict[str, Any]]]
) -> None:
    await asyncio.to_thread(disconnect, user=7, by="the nightly job", reason="a clean-up")
    await adisconnect(session="a")
    disconnect(sid="s1")  # on the loop
    await wait_until(lambda: len(told()) == 3)
    await arecheck(users=[1, 2], by="an import")
    await asyncio.to_thread(recheck)
    lines = told()
    assert [(one["targets"], one["door"]) for one in lines] == [
        ("user 7", "code"),
        ("session a", "code"),
        ("sign-in s1", "code"),
        ("user 1, user 2", "code"),
        ("everybody", "code"),
    ]
    assert (lines[0]["by"], lines[0]["reason"]) == ("the nightly job", "a clean-up")
    assert (lines[0]["code"], lines[0]["outcome"]) == (4002, "done")
    assert lines[1]["by"].endswith("(operating system)")
    assert lines[1]["by"] != "None (operating system)"


async def test_what_ends_within_acting_as_was_done_by_that_user_also_at_the_commit(
    running: Runtime, told: Callable[[], list[dict[str, Any]]]
) -> None:
    with acting_as("root's script", door="command"):
        await asyncio.to_thread(disconnect, user=1, on_commit=True)
    await asyncio.to_thread(disconnect, user=2)
    first, second = told()
    assert (first["by"], first["door"]) == ("root's script", "command")
    assert second["door"] == "code"
    assert second["by"] != first["by"]


@pytest.mark.django_db(transaction=True)
async def test_a_user_who_ends_sessions_stands_in_the_history_of_each_target(
    running: Runtime,
) -> None:
    root = await User.objects.acreate(username="root")
    anna = await User.objects.acreate(username="anna")
    ids = [str(uuid.uuid4()) for _ in range(3)]
    targets = [Target(session=id) for id in ids]
    actor = find_actor(root, door="rest")
    options: Any = {"code": CloseCode.DISCONNECTED, "actor": actor, "reason": "noisy"}
    await sync_to_async(end_sessions)(targets, **options)
    await adisconnect(user=anna, by=root)
    await adisconnect(user="no key of a user", by=root)
    await adisconnect(sid="s1", by=root, code=CloseCode.REVOKED)
    entries = [entry async for entry in LogEntry.objects.order_by("pk").select_related()]
    assert {entry.user_id for entry in entries} == {root.pk}
    assert [(entry.object_id, entry.change_message) for entry in entries] == [
        *((id, "Disconnected over REST: noisy.") for id in ids),
        (str(anna.pk), "Disconnected all live sessions by code."),
        ("no key of a user", "Disconnected all live sessions by code."),
        ("s1", "Ended all live sessions by code: code 4505."),
    ]
    assert entries[3].object_repr == "anna"


@pytest.mark.django_db(transaction=True)
async def test_ten_thousand_endings_are_written_in_batches_and_told_in_one_line(
    running: Runtime, told: Callable[[], list[dict[str, Any]]]
) -> None:
    root = await User.objects.acreate(username="root")
    targets = [Target(session=str(uuid.uuid4())) for _ in range(10_000)]

    def end() -> int:
        with CaptureQueriesContext(connection) as queries:
            end_sessions(targets, code=CloseCode.DISCONNECTED, actor=find_actor(root, door="admin"))
        return len(queries)

    assert await sync_to_async(end)() < 400
    assert await LogEntry.objects.acount() == 10_000
    (line,) = told()
    assert line["count"] == 10_000
    assert line["targets"].count("session") == 50


# Where no server is reached


CALLS: list[Callable[..., Any]] = [
    lambda **options: disconnect(user=1, **options),
    lambda **options: recheck(users=[1], **options),
    lambda **options: recheck(**options),
    lambda **options: asyncio.run(adisconnect(user=1, **options)),
    lambda **options: asyncio.run(arecheck(users=[1], **options)),
]


@pytest.mark.parametrize("call", CALLS, ids=range(len(CALLS)))
def test_where_no_server_is_reached_a_direct_call_does_as_the_settings_say(
    call: Callable[..., Any], settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(NotRunning, match="REDIS_URL"):
        call()
    settings.REALTIME = {**settings.REALTIME, "OUTSIDE_SERVER": "ignore"}
    call()
    assert caplog.records == []
    settings.REALTIME = {**settings.REALTIME, "OUTSIDE_SERVER": "log"}
    call()
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "REDIS_URL" in record.getMessage()


@pytest.mark.parametrize("call", CALLS, ids=range(len(CALLS)))
def test_where_no_server_is_reached_a_call_after_the_commit_never_raises(
    call: Callable[..., Any], db: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="realtime.control")
    call(on_commit=True)
    assert "REDIS_URL" in caplog.text or connection.in_atomic_block


@pytest.mark.parametrize("call", [disconnect, recheck])
@pytest.mark.parametrize("failure", [Unavailable("Redis is away"), ConnectionError("a bug")])
def test_after_the_commit_a_failure_is_one_line_of_the_log(
    call: Any,
    failure: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise failure

    monkeypatch.setattr("realtime.control.find_runtime", fail)
    options = {"user": 1} if call is disconnect else {}
    with pytest.raises(type(failure)):
        call(**options)
    call(on_commit=True, **options)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert str(failure) in record.getMessage()
