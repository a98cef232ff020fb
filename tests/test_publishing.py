"""Publishing from Python code: a thread, a loop, another loop, another process."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import connection, transaction
from django.utils.functional import SimpleLazyObject

import realtime
from accounts.models import User
from realtime import apublish, publish, runtime
from realtime.core.entries import decode_entry
from realtime.core.errors import (
    InvalidArray,
    InvalidMessage,
    MessageTooBig,
    NotRunning,
    NotSupported,
    Unavailable,
    UnknownTopic,
)
from realtime.core.positions import Position
from realtime.core.samples import unpack_samples
from realtime.core.topics import parse_topic
from realtime.publishing import publish_for_receipt
from realtime.runtime import Runtime
from tests.servers import Project


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Runtime]:
    """A runtime on this loop, as a server process has one (but without a database)."""
    made = Runtime(has_sessions=False)
    monkeypatch.setattr(runtime, "_server", made)
    yield made
    await made.pipeline.close()


async def read(running: Runtime, topic: str) -> list[Any]:
    page = await running.history.read(parse_topic(topic), after=0, limit=100)
    return [decode_entry(body) for body in page.bodies]


async def test_a_thread_of_the_server_process_publishes_and_gets_the_position(
    running: Runtime,
) -> None:
    first = await asyncio.to_thread(publish, "broadcast:a", {"n": 1})
    second = await asyncio.to_thread(publish, "broadcast:a", [2])
    assert isinstance(first, Position)
    assert second == Position(first.epoch, 2)
    entries = await read(running, "broadcast:a")
    assert [(e.format, e.data, e.user) for e in entries] == [
        ("json", b'{"n":1}', None),
        ("json", b"[2]", None),
    ]


async def test_many_threads_at_once_each_get_an_offset_of_their_own(running: Runtime) -> None:
    positions = await asyncio.gather(
        *(asyncio.to_thread(publish, "broadcast:a", n) for n in range(50))
    )
    assert sorted(p.offset for p in positions if p) == list(range(1, 51))


async def test_async_code_awaits_it_on_the_loop_of_the_server(running: Runtime) -> None:
    assert (await apublish("broadcast:a", 1)) == Position(
        (await running.history.read_tops([parse_topic("broadcast:a")]))[0].epoch, 1
    )


async def test_async_code_on_another_loop_publishes_too(running: Runtime) -> None:
    results: list[Any] = []
    thread = threading.Thread(
        target=lambda: results.append(asyncio.run(apublish("broadcast:a", "other loop")))
    )
    thread.start()
    await asyncio.to_thread(thread.join, 30)
    assert results[0].offset == 1
    assert (await read(running, "broadcast:a"))[0].data == b'"other loop"'


async def test_the_blocking_form_on_the_loop_is_an_error_that_names_the_other(
    running: Runtime,
) -> None:
    with pytest.raises(RuntimeError, match="await apublish"):
        publish("broadcast:a", 1)


async def test_an_id_is_published_once_for_each_user(running: Runtime) -> None:
    class User:
        def __init__(self, pk: int) -> None:
            self.pk = pk

        def get_username(self) -> str:
            return f"user{self.pk}"

    receipts = [
        await asyncio.to_thread(publish_for_receipt, "broadcast:a", n, id="x", user=user)
        for n, user in enumerate([None, None, User(1), User(2), User(1)])
    ]
    assert [r.duplicate for r in receipts] == [False, True, False, False, True]
    assert [e.user for e in await read(running, "broadcast:a")] == [None, "user1", "user2"]


async def test_stats_topics_take_numbers_sequences_and_arrays(running: Runtime) -> None:
    data: list[Any] = [
        3,
        2.5,
        np.float32(1.5),
        [1, None, float("nan")],
        (4, 5),
        np.arange(3),
        {"value": 7, "timestamp": 1e9},
        {"values": [8, 9]},
    ]
    for item in data:
        await apublish("stats:a", item)
    values = [unpack_samples(entry.data)[0].tolist() for entry in await read(running, "stats:a")]
    assert [repr(v) for v in values] == [
        repr(v)
        for v in (
            [3.0],
            [2.5],
            [1.5],
            [1.0, np.nan, np.nan],
            [4.0, 5.0],
            [0.0, 1.0, 2.0],
            [7.0],
            [8.0, 9.0],
        )
    ]


async def test_binary_topics_take_arrays_and_bytes(running: Runtime) -> None:
    await apublish("arrays:a", np.eye(2))
    await apublish("blobs:a", b"\x89PNG", format="image/png")
    await apublish("blobs:a", memoryview(b"raw"))
    assert (await read(running, "arrays:a"))[0].format == "npy"
    assert [(e.format, e.data) for e in await read(running, "blobs:a")] == [
        ("image/png", b"\x89PNG"),
        ("application/octet-stream", b"raw"),
    ]


@pytest.mark.parametrize(
    ("topic", "data", "error"),
    [
        ("lobby", 1, UnknownTopic),
        ("nowhere:a", 1, UnknownTopic),
        ("broadcast:a", object(), InvalidMessage),
        ("broadcast:a", b"bytes", NotSupported),
        ("broadcast:a", "x" * (17 * 1024 * 1024), MessageTooBig),
        ("stats:a", "text", InvalidMessage),
        ("stats:a", float("inf"), InvalidMessage),
        ("arrays:a", {"a": 1}, InvalidArray),
        ("arrays:a", b"no array", InvalidArray),
        ("arrays:a", np.array([object()]), InvalidArray),
    ],
)
async def test_what_a_topic_does_not_take_is_refused(
    running: Runtime, topic: str, data: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await apublish(topic, data)
    with pytest.raises(error):
        await asyncio.to_thread(publish, topic, data)


async def test_the_users_attributes_are_read_in_the_callers_thread(running: Runtime) -> None:
    threads: list[str] = []

    def load_user() -> Any:
        threads.append(threading.current_thread().name)
        return get_user_model()(pk=7, username="anna")

    def work() -> Position | None:
        return publish("broadcast:a", 1, user=SimpleLazyObject(load_user))

    await asyncio.to_thread(work)
    await apublish("broadcast:a", 1, user=AnonymousUser())
    assert threads != [threading.current_thread().name]
    assert len(threads) == 1
    assert [entry.user for entry in await read(running, "broadcast:a")] == ["anna", None]


# At the commit


@pytest.fixture
def work(running: Runtime, transactional_db: None) -> Callable[..., Any]:
    """Runs a function in a thread that uses the database, and closes its connection."""

    def call(function: Callable[[], Any]) -> Any:
        try:
            return function()
        finally:
            connection.close()

    return lambda function: asyncio.to_thread(call, function)


def read_now(running: Runtime, topic: str = "broadcast:a") -> list[bytes]:
    """The data that a topic has, asked from a thread."""
    future = asyncio.run_coroutine_threadsafe(read(running, topic), running.loop)
    return [entry.data for entry in future.result()]


async def test_in_a_transaction_it_is_published_in_order_when_that_commits(
    running: Runtime, work: Callable[..., Any]
) -> None:
    def change() -> None:
        with transaction.atomic():
            assert publish("broadcast:a", 1, on_commit=True) is None
            with transaction.atomic():
                assert publish("broadcast:a", 2, on_commit=True, using="default") is None
            publish("broadcast:b", "at once")
            assert read_now(running) == []
        assert read_now(running) == [b"1", b"2"]

    await work(change)
    assert [e.data for e in await read(running, "broadcast:b")] == [b'"at once"']


async def test_a_rollback_publishes_nothing(running: Runtime, work: Callable[..., Any]) -> None:
    def change() -> None:
        with transaction.atomic():
            publish("broadcast:a", 1, on_commit=True)
            transaction.set_rollback(True)
        with transaction.atomic():
            publish("broadcast:a", 2, on_commit=True)
            with transaction.atomic():
                publish("broadcast:a", 3, on_commit=True)
                transaction.set_rollback(True)

    await work(change)
    assert [e.data for e in await read(running, "broadcast:a")] == [b"2"]


async def test_outside_a_transaction_it_is_published_at_once_and_opens_no_connection(
    running: Runtime, work: Callable[..., Any]
) -> None:
    def change() -> Position | None:
        position = publish("broadcast:a", 1, on_commit=True)
        assert connection.connection is None
        connection.ensure_connection()
        publish("broadcast:a", 2, on_commit=True)
        return position

    assert (await work(change)).offset == 1
    assert (await apublish("broadcast:a", 3, on_commit=True)).offset == 3  # type: ignore[union-attr]


async def test_a_transaction_without_a_commit_to_wait_for_is_refused(
    running: Runtime, work: Callable[..., Any]
) -> None:
    def change() -> None:
        transaction.set_autocommit(False)
        with pytest.raises(transaction.TransactionManagementError):
            publish("broadcast:a", 1, on_commit=True)
        transaction.rollback()

    await work(change)


async def test_async_code_in_a_transaction_of_sync_code_waits_for_its_commit(
    running: Runtime, work: Callable[..., Any]
) -> None:
    def change() -> None:
        with transaction.atomic():
            assert async_to_sync(apublish)("broadcast:a", 1, on_commit=True) is None
            assert read_now(running) == []

    await work(change)
    assert [e.data for e in await read(running, "broadcast:a")] == [b"1"]


async def test_an_error_after_the_commit_is_logged_with_the_topic_and_stops_nothing(
    running: Runtime, work: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    def change() -> str:
        with transaction.atomic():
            data = {"order": 1}
            publish("broadcast:a", data, on_commit=True)
            data["order"] = object()  # type: ignore[assignment]
            transaction.on_commit(lambda: done.append("the next callback"))
            publish("broadcast:a", 2, on_commit=True)
        return "the response"

    assert await work(change) == "the response"
    assert done == ["the next callback"]
    assert [e.data for e in await read(running, "broadcast:a")] == [b"2"]
    (record,) = (one for one in caplog.records if one.name == "realtime.publishing")
    assert record.topic == "broadcast:a"  # type: ignore[attr-defined]
    assert "no JSON form" in record.getMessage()


async def test_an_unknown_topic_is_an_error_before_the_commit(
    running: Runtime, work: Callable[..., Any]
) -> None:
    def change() -> None:
        with transaction.atomic():
            for topic in ("lobby", "nowhere:a"):
                with pytest.raises(UnknownTopic):
                    publish(topic, 1, on_commit=True)

    await work(change)


@pytest.mark.parametrize("is_atomic", [False, True])
async def test_what_no_topic_takes_is_an_error_at_the_call_with_a_transaction_or_without(
    running: Runtime, work: Callable[..., Any], is_atomic: bool
) -> None:
    wrong: list[tuple[str, Any, type[Exception], Any]] = [
        ("nowhere:a", 1, UnknownTopic, None),
        ("broadcast:a", object(), InvalidMessage, None),
        ("broadcast:a", b"bytes", NotSupported, None),
        ("broadcast:a", "x" * (17 * 1024 * 1024), MessageTooBig, None),
        ("stats:a", "text", InvalidMessage, None),
        ("arrays:a", np.array([object()]), InvalidArray, None),
        ("blobs:a", b"x", InvalidMessage, "no media type"),
    ]

    def change() -> None:
        with transaction.atomic() if is_atomic else nullcontext():
            for topic, data, error, format in wrong:
                with pytest.raises(error):
                    publish(topic, data, format=format, on_commit=True)
                with pytest.raises(error):
                    async_to_sync(apublish)(topic, data, format=format, on_commit=True)

    await work(change)


async def test_what_a_processor_makes_of_it_is_known_after_the_commit_alone(
    running: Runtime, work: Callable[..., Any], settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    processor = "tests.project_settings.process_politely"
    settings.REALTIME = {
        "NAMESPACES": {"polite": {"kind": "broadcast", "processor": processor}},
    }

    def change() -> None:
        assert publish("polite:a", "rude", user=User(pk=1, username="anna"), on_commit=True) is None

    await work(change)
    (record,) = (one for one in caplog.records if one.name == "realtime.publishing")
    assert record.getMessage() == "not published: be kind"


@pytest.mark.parametrize("is_atomic", [False, True])
@pytest.mark.parametrize("call", [publish, async_to_sync(apublish)])
@pytest.mark.parametrize(
    "failure", [Unavailable("Redis is away"), NotRunning("no server"), ConnectionError("a bug")]
)
def test_what_goes_wrong_after_the_write_is_one_line_and_raises_nothing(
    transactional_db: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_atomic: bool,
    call: Any,
    failure: Exception,
) -> None:
    def fail() -> None:
        raise failure

    monkeypatch.setattr("realtime.publishing.find_runtime", fail)
    with transaction.atomic() if is_atomic else nullcontext():
        User.objects.create(username="saved")
        assert call("broadcast:a", 1, on_commit=True) is None
    assert User.objects.get().username == "saved"
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("realtime.publishing", "ERROR")
    assert str(failure) in record.getMessage()
    assert record.topic == "broadcast:a"  # type: ignore[attr-defined]
    with pytest.raises(type(failure)):
        call("broadcast:a", 1)


@pytest.mark.parametrize("call", [publish, async_to_sync(apublish)])
@pytest.mark.parametrize(("rule", "lines"), [("log", 1), ("ignore", 0)])
def test_outside_a_server_a_direct_call_may_log_or_do_nothing(
    settings: Any, caplog: pytest.LogCaptureFixture, call: Any, rule: str, lines: int
) -> None:
    settings.REALTIME = {"OUTSIDE_SERVER": rule}
    assert call("broadcast:a", 1) is None
    assert call("broadcast:a", 1, on_commit=True) is None
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 2 * lines


def test_where_nobody_could_hear_it_publishing_says_so() -> None:
    with pytest.raises(NotRunning, match="REDIS_URL"):
        publish("broadcast:a", 1)
    with pytest.raises(NotRunning, match="REDIS_URL"):
        asyncio.run(apublish("broadcast:a", 1))


def test_another_process_without_redis_is_told_so(make_project: Callable[..., Project]) -> None:
    code = (
        "from realtime import publish\n"
        "try:\n"
        "    publish('broadcast:a', 1)\n"
        "except RuntimeError as error:\n"
        "    print(type(error).__name__)\n"
    )
    assert make_project().manage("shell", "-v", "0", "-c", code).strip() == "NotRunning"


def test_the_public_names_are_all_there_and_no_others() -> None:
    for name in realtime.__all__:
        assert getattr(realtime, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        realtime.nothing  # noqa: B018
