"""Publishing from Python code: a thread, a loop, another loop, another process."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

import realtime
from realtime import apublish, publish, runtime
from realtime.core.entries import decode_entry
from realtime.core.errors import (
    InvalidArray,
    InvalidMessage,
    MessageTooBig,
    NotRunning,
    NotSupported,
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
    await asyncio.to_thread(thread.join, 5)
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
