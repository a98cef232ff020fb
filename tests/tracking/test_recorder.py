"""Sessions in the database: rows that open, close, survive a lock and outlive no instance."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from django.db import DataError, InternalError, OperationalError, connection
from django.test.utils import CaptureQueriesContext

from realtime.conf import build_settings
from realtime.core.close_codes import CloseCode
from realtime.models import Instance
from realtime.models import Session as Row
from realtime.sessions import Session, Sessions
from realtime.tracking import Recorder
from realtime.tracking import recorder as recorder_module
from tests.clients import open_client
from tests.servers import Project, Server, start_server
from tests.sessions import StubSession

LEASE = 2.0


@pytest.fixture(scope="module")
def leased(make_project: Callable[..., Project]) -> Project:
    """A project whose instances have a short lease."""
    return make_project(REALTIME_LEASE_SECONDS=str(LEASE), REALTIME_LEASE_RENEWAL_SECONDS="0.5")


@pytest.fixture(scope="module")
def instance(leased: Project) -> Iterator[Server]:
    server = start_server(leased)
    yield server
    server.stop(kill=True)


@pytest.fixture(scope="module")
def leased_token(leased: Project) -> str:
    return leased.issue_token()


def read_ended_lease(project: Project, instance: str) -> str:
    """Until when an instance claimed to be alive, which is over."""
    with closing(sqlite3.connect(project.folder / "db.sqlite3")) as database:
        ((end, is_over),) = database.execute(
            "SELECT lease_until, lease_until <= strftime('%Y-%m-%d %H:%M:%f', 'now')"
            " FROM realtime_instance WHERE id = ?",
            [instance],
        )
        assert is_over
        return str(end)


def read_rows(project: Project, topic: str) -> list[dict[str, Any]]:
    """The session rows of a topic, with the name of their user."""
    with closing(sqlite3.connect(project.folder / "db.sqlite3")) as database:
        database.row_factory = sqlite3.Row
        rows = database.execute(
            "SELECT s.*, u.username FROM realtime_session s"
            " LEFT JOIN accounts_user u ON u.id = s.user_id WHERE topic = ?",
            [topic],
        )
        return [dict(row) for row in rows]


async def wait_for_rows(
    project: Project, topic: str, condition: Callable[[list[dict[str, Any]]], Any]
) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 30
    while not condition(rows := read_rows(project, topic)):
        assert time.monotonic() < deadline, rows
        await asyncio.sleep(0.02)
    return rows


async def test_a_row_opens_with_the_session_and_closes_with_its_counts_and_code(
    leased: Project, instance: Server, leased_token: str
) -> None:
    topic = "broadcast:rows"
    agent = {"User-Agent": "tests/1"}
    async with open_client(
        f"{instance.ws}/ws/broadcast/rows/", leased_token, user_agent_header=agent["User-Agent"]
    ) as client:
        hello = await client.receive_type("hello")
        await client.receive_type("subscribed")
        (row,) = await wait_for_rows(leased, topic, len)
        assert row["id"] == hello["session"].replace("-", "")
        assert (row["username"], row["address"]) == ("anna", "127.0.0.1")
        assert (row["user_agent"], row["instance_id"]) == ("tests/1", hello["instance"])
        assert (row["closed_at"], row["close_code"]) == (None, None)
        for number in range(3):
            await client.send({"type": "ping", "ref": number})
            await client.receive_type("pong")
    (row,) = await wait_for_rows(leased, topic, lambda rows: rows[0]["closed_at"])
    assert (row["close_code"], row["messages_in"], row["messages_out"]) == (1000, 3, 5)
    assert row["connected_at"] < row["closed_at"]


async def test_a_refused_session_has_no_row(
    leased: Project, instance: Server, leased_token: str
) -> None:
    async with open_client(f"{instance.ws}/ws/broadcast/refused/?x=1", leased_token) as client:
        assert (await client.wait_closed())[0] == 4500
    async with open_client(f"{instance.ws}/ws/broadcast/accepted/", leased_token):
        await wait_for_rows(leased, "broadcast:accepted", len)
    assert read_rows(leased, "broadcast:refused") == []


async def test_a_locked_database_stops_no_socket_and_its_rows_come_later(
    leased: Project, instance: Server, leased_token: str
) -> None:
    topic = "broadcast:locked"
    url = f"{instance.ws}/ws/broadcast/locked/"
    with closing(sqlite3.connect(leased.folder / "db.sqlite3", isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            async with open_client(url, leased_token) as client:
                await client.receive_type("subscribed")
                await client.send({"type": "publish", "data": 1, "ref": 1})
                await client.receive_type("ack")
        await asyncio.sleep(0.7)
        assert read_rows(leased, topic) == []
        lock.execute("ROLLBACK")
    rows = await wait_for_rows(
        leased, topic, lambda rows: len(rows) == 2 and all(row["closed_at"] for row in rows)
    )
    assert [row["close_code"] for row in rows] == [1000, 1000]


async def test_the_rows_of_a_killed_instance_are_closed_by_another_after_its_lease(
    leased: Project, instance: Server, leased_token: str
) -> None:
    topic = "broadcast:killed"
    doomed = start_server(leased)
    try:
        async with open_client(f"{doomed.ws}/ws/broadcast/killed/", leased_token) as client:
            await client.receive_type("subscribed")
            await wait_for_rows(leased, topic, len)
            doomed.stop(kill=True)
            (row,) = await wait_for_rows(leased, topic, lambda rows: rows[0]["closed_at"])
            assert row["closed_at"] == read_ended_lease(leased, row["instance_id"])
            assert row["close_code"] is None
    finally:
        doomed.stop(kill=True)


class TestQueue:
    """What waits to be written, without a database."""

    @staticmethod
    def build(
        monkeypatch: pytest.MonkeyPatch, errors: list[Exception]
    ) -> tuple[Recorder, list[str]]:
        written: list[str] = []

        def write(batch: list[Session]) -> None:
            if errors:
                raise errors.pop(0)
            written.extend(session.topic for session in batch)

        monkeypatch.setattr(recorder_module, "close_old_connections", lambda: None)
        monkeypatch.setattr(recorder_module, "RETRY_DELAY", 0.01)
        monkeypatch.setattr(recorder_module, "BATCH_DELAY", 0.01)
        recorder = Recorder(
            instance_id="i", version="1", settings=build_settings({}), sessions=Sessions()
        )
        recorder._lease.epoch = 1
        monkeypatch.setattr(recorder, "_save", write)
        return recorder, written

    @staticmethod
    def note(recorder: Recorder, name: str) -> None:
        recorder.note(StubSession(name).session)

    async def test_what_could_not_be_written_is_tried_again_in_order(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recorder, written = self.build(
            monkeypatch,
            [
                OperationalError("locked"),
                InternalError("it only reads"),
                OSError(24, "Too many open files"),
                RuntimeError("can't start new thread"),
            ],
        )
        task = asyncio.create_task(recorder._record_forever())
        for name in "abc":
            self.note(recorder, name)
        async with asyncio.timeout(15):
            while len(written) < 3:
                await asyncio.sleep(0.01)
        assert written == ["a", "b", "c"]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    @pytest.mark.parametrize("error", [DataError("impossible"), ValueError("no such key")])
    async def test_what_can_never_be_written_does_not_hold_up_the_rest(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        recorder, written = self.build(monkeypatch, [error])
        self.note(recorder, "bad")
        await recorder.flush()
        self.note(recorder, "good")
        await recorder.flush()
        assert written == ["good"]

    async def test_what_waits_is_bounded_and_the_oldest_goes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(recorder_module, "MAX_WAITING", 3)
        recorder, written = self.build(monkeypatch, [])
        for name in "abcde":
            self.note(recorder, name)
        await recorder.flush()
        assert written == ["c", "d", "e"]

    async def test_what_could_not_be_written_does_not_push_out_what_came_after(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(recorder_module, "MAX_WAITING", 3)
        recorder, written = self.build(monkeypatch, [])

        async def fail(*_: Any) -> bool:
            for name in "de":
                self.note(recorder, name)
            return False

        for name in "abc":
            self.note(recorder, name)
        with monkeypatch.context() as patch:
            patch.setattr(recorder, "_write", fail)
            assert not await recorder.flush()
        assert await recorder.flush()
        assert written == ["c", "d", "e"]

    async def test_flushing_waits_for_what_another_task_is_writing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recorder, written = self.build(monkeypatch, [])
        write, may_write = recorder._save, threading.Event()

        def write_later(batch: list[Session]) -> None:
            assert may_write.wait(30)
            write(batch)

        monkeypatch.setattr(recorder, "_save", write_later)
        self.note(recorder, "a")
        other = asyncio.create_task(recorder.flush())
        await asyncio.sleep(0)
        assert not recorder._changes
        flush = asyncio.create_task(recorder.flush())
        await asyncio.sleep(0.02)
        assert not flush.done()
        may_write.set()
        assert await flush
        assert written == ["a"]
        assert await other

    async def test_what_a_request_could_not_write_is_tried_again_without_another_change(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recorder, written = self.build(monkeypatch, [OperationalError("locked")])
        self.note(recorder, "a")
        recorder._changed.clear()  # the task has seen it, when a request was quicker
        assert not await recorder.flush()
        task = asyncio.create_task(recorder._record_forever())
        async with asyncio.timeout(15):
            while not written:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_address_that_comes_and_goes_keeps_few_rows_but_live_sessions_have_theirs(
    make_project: Callable[..., Project], launch: Callable[..., Server]
) -> None:
    project = make_project(
        REALTIME_SESSION_ROWS_PER_ADDRESS="60",
        LOG_LINES_PER_ADDRESS="60",
        REALTIME_ECHO_POLICY="anyone",
    )
    server = launch(project, "serve")
    url = f"{server.ws}/ws/echo/"
    async with open_client(url), open_client(url):
        for _ in range(30):
            async with open_client(url) as client:
                await client.send(b"hello")  # it has begun once that comes back
                await client.receive()
        deadline = time.monotonic() + 30
        while server.read_metric("realtime_unkept_sessions_total") < 20:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        rows = await wait_for_rows(project, "echo", lambda rows: len(rows) == 2 + 10)
        assert [row["closed_at"] for row in rows].count(None) == 2
    server.stop()
    log = server.read_log()
    assert log.count("realtime.sessions session closed") == 10
    assert "more sessions of this address ended, and were not kept address=127.0.0.1" in log
    assert "sessions=22" in log


@pytest.mark.django_db
class TestRows:
    """Which rows are kept."""

    @staticmethod
    def build(**options: Any) -> Recorder:
        Instance.objects.create(pk="i", host="h", pid=1, lease_until="2100-01-01T00:00:00Z")
        settings = build_settings(options)
        return Recorder(instance_id="i", version="1", settings=settings, sessions=Sessions())

    @staticmethod
    def end(recorder: Recorder, code: int = 1000, address: str = "127.0.0.1") -> Session:
        session = StubSession(address=address).session
        recorder._save_rows([session], 1)
        session.ended, session.close_code = session.began + 1, code
        recorder.note(session)
        return session

    def test_a_row_over_the_budget_goes_when_its_session_ends(self) -> None:
        recorder = self.build(SESSION_ROWS_PER_ADDRESS=6)
        sessions = [self.end(recorder) for _ in range(3)]
        assert Row.objects.count() == 3
        recorder._save_rows(sessions, 1)
        assert [str(row.pk) for row in Row.objects.all()] == [sessions[0].id]
        recorder._save_rows(sessions, 1)  # once more, as the counts of live ones are written
        assert Row.objects.count() == 1

    def test_other_addresses_keep_theirs_until_all_have_too_many(self) -> None:
        recorder = self.build(SESSION_ROWS_PER_ADDRESS=6, SESSION_ROWS_PER_HOUR=30)
        kept = [self.end(recorder, address=f"192.0.2.{n}").keeps_row for n in range(8)]
        assert kept == [True] * 5 + [False] * 3
        assert recorder._sessions.unkept_count == 3

    def test_what_an_administrator_has_ended_is_kept(self) -> None:
        recorder = self.build(SESSION_ROWS_PER_ADDRESS=6)
        sessions = [self.end(recorder, CloseCode.DISCONNECTED) for _ in range(3)]
        recorder._save_rows(sessions, 1)
        assert Row.objects.count() == 3

    def test_a_session_that_came_and_went_over_the_budget_is_never_written(self) -> None:
        recorder = self.build(SESSION_ROWS_PER_ADDRESS=6)
        self.end(recorder)
        session = StubSession().session
        session.ended = session.began + 1
        recorder.note(session)
        with CaptureQueriesContext(connection) as queries:
            recorder._save_rows([session], 1)
        assert [query for query in queries if "realtime_session" in query["sql"]] == []
