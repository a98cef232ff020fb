"""Samples in, statistics out, over real sockets: section 6 of the protocol."""

import asyncio
import contextlib
import json
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from tests.clients import TIMEOUT, Client, open_client, save_array, save_as_julia_does
from tests.servers import Project, Server, start_server

EXTRA = ("sum", "var", "median", "p90", "p95", "p99", "first", "rate", "nan_count")
ALL = f"fields={','.join(EXTRA)}"
START = 1767225600.0


@pytest.fixture(scope="module")
def small_server(project: Project) -> Iterator[Server]:
    """A daphne with the namespaces of `tests.stats_settings`."""
    server = start_server(project.with_environment(DJANGO_SETTINGS_MODULE="tests.stats_settings"))
    yield server
    server.stop()


@pytest.fixture
def name() -> str:
    """The name of a topic of this test's own."""
    return uuid.uuid4().hex


class Session:
    """A session on a stats topic, past `hello` and `subscribed`."""

    def __init__(self, client: Client, subscribed: dict[str, Any] | None) -> None:
        self.client = client
        self.subscribed = subscribed
        self._kept: deque[dict[str, Any]] = deque()
        self._refs = 0

    async def publish(self, data: Any) -> int:
        """Publish and wait for the ack; returns the offset."""
        self._refs += 1
        await self.client.send({"type": "publish", "data": data, "ref": self._refs})
        ack = await self.receive_type("ack")
        assert ack["ref"] == self._refs
        return ack["offset"]

    async def receive_type(self, type: str) -> dict[str, Any]:
        """The next reply of a type; statistics that come before it are kept."""
        while (message := await self.client.receive())["type"] != type:
            assert message["type"] == "stats", message
            self._kept.append(message)
        return message

    async def receive_text(self) -> str | bytes:
        """The next message, as it is on the wire."""
        return await asyncio.wait_for(self.client.connection.recv(), TIMEOUT)

    async def stats(self) -> dict[str, Any]:
        return self._kept.popleft() if self._kept else await self.client.receive_type("stats")

    async def stats_until(self, offset: int) -> list[dict[str, Any]]:
        """All stats up to the one with that offset."""
        messages = [await self.stats()]
        while messages[-1]["offset"] < offset:
            messages.append(await self.stats())
        return messages


@asynccontextmanager
async def open_stats(
    server: Server, token: str, name: str, *query: str, namespace: str = "stats"
) -> AsyncIterator[Session]:
    url = f"{server.ws}/ws/{namespace}/{name}/?{'&'.join(query)}"
    async with open_client(url, token) as client:
        assert (await client.receive())["type"] == "hello"
        subscribed = None
        if "subscribe=0" not in query:
            subscribed = await client.receive()
            assert subscribed["type"] == "subscribed"
        yield Session(client, subscribed)


def summarise(samples: list[tuple[float, float]], window: str) -> dict[str, Any]:
    """What plain numpy says about (value, timestamp) pairs in the order of arrival."""
    if window.isdigit():
        inside = samples[-int(window) :]
    else:
        seconds = float(window[:-1]) * {"s": 1, "m": 60, "h": 3600}[window[-1]]
        newest = max(time for _, time in samples)
        inside = [pair for pair in samples if newest - seconds < pair[1] <= newest]
    known = [pair for pair in inside if pair[0] == pair[0]]
    if not window.isdigit():
        known.sort(key=lambda pair: pair[1])
    values = np.array([value for value, _ in known])
    empty = dict.fromkeys(("value", "mean", "std", "min", "max", *EXTRA))
    counted = {"count": len(known), "nan_count": len(inside) - len(known)}
    if not known:
        return {**empty, **counted, "sum": 0.0}
    span = known[-1][1] - known[0][1]
    return {
        **counted,
        "value": known[-1][0],
        "first": known[0][0],
        "mean": values.mean(),
        "std": values.std(),
        "var": values.var(),
        "min": values.min(),
        "max": values.max(),
        "sum": values.sum(),
        "median": np.median(values),
        **{f"p{q}": np.percentile(values, q) for q in (90, 95, 99)},
        "rate": (len(known) - 1) / span if span > 0 else None,
    }


def assert_like(message: dict[str, Any], expected: dict[str, Any]) -> None:
    """Every figure of `expected` that the message has is right, and the usual ones are there."""
    assert {"value", "count", "mean", "std", "min", "max"} <= message.keys()
    for field in expected.keys() & message.keys():
        if expected[field] is None:
            assert message[field] is None, (field, message)
        else:
            assert message[field] == pytest.approx(expected[field], rel=1e-9, abs=1e-9), field


# Samples


async def test_a_bare_client_types_a_value_and_gets_its_statistics(
    server: Server, token: str, name: str
) -> None:
    async with open_stats(server, token, name) as session:
        await session.client.connection.send('{"value": 3}')
        await session.client.connection.send('{"value": 5}')
        first, second = await session.stats_until(2)
        assert second.pop("server_time") >= first["server_time"]
        assert second == {
            "type": "stats",
            "topic": f"stats:{name}",
            "offset": 2,
            "window": "100",
            "value": 5.0,
            "count": 2,
            "mean": 4.0,
            "std": 1.0,
            "min": 3.0,
            "max": 5.0,
        }


async def test_values_timestamps_and_null_are_taken_as_they_say(
    server: Server, token: str, name: str
) -> None:
    async with open_stats(server, token, name, "window=10s", ALL) as session:
        await session.publish({"value": 1, "timestamp": START})
        await session.publish(
            {"values": [2, None, 4], "timestamps": [START + t for t in (1, 2, 4)]}
        )
        message = (await session.stats_until(2))[-1]
        assert (message["count"], message["nan_count"]) == (3, 1)
        assert (message["first"], message["value"]) == (1.0, 4.0)
        assert message["rate"] == 0.5


async def test_nothing_but_nan_gives_null_and_counts(server: Server, token: str, name: str) -> None:
    async with open_stats(server, token, name, ALL) as session:
        await session.publish({"values": [None, None]})
        message = await session.stats()
        assert (message["count"], message["nan_count"], message["sum"]) == (0, 2, 0.0)
        undefined = ("value", "mean", "std", "min", "max", "var", "median", "p90", "first", "rate")
        assert [message[field] for field in undefined] == [None] * len(undefined)


async def test_a_sample_without_a_timestamp_gets_the_clock_of_the_server(
    server: Server, token: str, name: str
) -> None:
    async with open_stats(server, token, name) as session:
        before = time.time()
        await session.publish({"values": [1, None]})
        await session.client.send({"type": "history", "ref": "h"})
        reply = await session.receive_type("history")
        (publication,) = reply["publications"]
        first, second = publication["data"]["timestamps"]
        assert publication["data"]["values"] == [1.0, None]
        assert before - 1 < first == second < time.time() + 1


@pytest.mark.parametrize("save", [save_array, save_as_julia_does])
@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64"])
async def test_a_lone_one_dimensional_array_is_samples_without_an_ack(
    server: Server, token: str, name: str, dtype: str, save: Callable[[np.ndarray], bytes]
) -> None:
    async with open_stats(server, token, name) as session:
        await session.client.send(save(np.array([1, 2, 6], dtype)))
        message = await session.client.receive()
        assert message["type"] == "stats"
        assert (message["offset"], message["count"], message["mean"]) == (1, 3, 3.0)
        await session.client.send({"type": "ping", "ref": 1})
        assert (await session.client.receive())["type"] == "pong"


async def test_an_array_in_chunks_is_acknowledged_and_a_repeated_id_is_a_duplicate(
    server: Server, token: str, name: str
) -> None:
    data = save_array(np.array([1.0, np.nan, 3.0]))
    async with open_stats(server, token, name, ALL) as session:
        for duplicate in (False, True):
            await session.client.send({"type": "binary", "chunks": 3, "ref": 7, "id": "once"})
            for chunk in (data[:1], data[1:140], data[140:]):
                await session.client.send(chunk)
            ack = await session.receive_type("ack")
            assert (ack["ref"], ack["offset"], ack["duplicate"]) == (7, 1, duplicate)
    async with open_stats(server, token, name, ALL) as session:
        message = await session.stats()
        assert (message["offset"], message["count"], message["nan_count"]) == (1, 2, 1)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"value": 1e400}', "invalid_json"),
        ('{"value": Infinity}', "invalid_json"),
        ('{"value": NaN}', "invalid_json"),
        ('{"value": true}', "invalid_message"),
        ('{"value": "3"}', "invalid_message"),
        ('{"value": 3, "unit": "m"}', "invalid_message"),
        ('{"value": 3, "values": [3]}', "invalid_message"),
        ('{"values": []}', "invalid_message"),
        ('{"values": [false]}', "invalid_message"),
        ('{"values": [1, 2], "timestamps": [1]}', "invalid_message"),
        ('{"values": [1], "timestamps": [1, 2]}', "invalid_message"),
        ('{"value": 1, "timestamp": true}', "invalid_message"),
        ('{"value": 1, "timestamp": -1e999}', "invalid_json"),
        ("{}", "invalid_message"),
        ('{"type": "publish", "data": 3}', "invalid_message"),
        ('{"type": "publish", "data": [3]}', "invalid_message"),
        ('{"type": "request", "shape": [1]}', "not_supported"),
        ('{"type": "binary", "chunks": 1, "format": "image/png"}', "invalid_message"),
    ],
)
async def test_other_text_is_refused_and_the_session_lives(
    server: Server, token: str, name: str, text: str, code: str
) -> None:
    async with open_stats(server, token, name) as session:
        await session.client.send(text)
        error = await session.client.receive()
        assert (error["type"], error["code"]) == ("error", code)
        await session.client.send({"type": "ping", "ref": 1})
        assert (await session.client.receive())["type"] == "pong"


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, np.inf]),
        np.zeros((2, 2)),
        np.float64(1),
        np.zeros(0),
        np.array([1j]),
        np.array([True]),
        np.array(["1"]),
    ],
)
async def test_other_arrays_are_refused_and_the_session_lives(
    server: Server, token: str, name: str, array: np.ndarray
) -> None:
    async with open_stats(server, token, name) as session:
        await session.client.send(save_array(array))
        error = await session.client.receive()
        assert (error["type"], error["code"]) == ("error", "invalid_array")
        assert await session.publish({"value": 1}) == 1


async def test_a_publish_only_session_gets_acks_and_no_statistics(
    server: Server, token: str, name: str
) -> None:
    async with (
        open_stats(server, token, name) as reader,
        open_stats(server, token, name, "subscribe=0") as writer,
    ):
        assert await writer.publish({"value": 8}) == 1
        assert (await reader.stats())["value"] == 8.0
        await writer.client.receive_nothing()


# Figures


def draw_publications(seed: int, count: int) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    """Random publications: the JSON, and its (value, timestamp) pairs."""
    random = np.random.default_rng(seed)
    clock = START
    for _ in range(count):
        size = int(random.integers(1, 6))
        # Multiples of 1/4 are exact, so that samples fall just on the edge of a window;
        # three in ten come late, some by more than a window.
        clock += float(random.integers(0, 5)) / 4
        late = random.choice([0, 0.5, 3, 20], size, p=[0.7, 0.1, 0.1, 0.1])
        times = [clock - float(seconds) for seconds in late]
        values = [float(value) for value in random.normal(1e6, 3, size)]
        values = [np.nan if random.random() < 0.15 else value for value in values]
        sent = [None if value != value else value for value in values]
        pairs = list(zip(values, times, strict=True))
        if size == 1 and random.random() < 0.7:
            yield {"value": sent[0], "timestamp": times[0]}, pairs
        else:
            yield {"values": sent, "timestamps": times}, pairs


@pytest.mark.parametrize("seed", range(3))
async def test_every_field_of_every_window_is_what_numpy_says(
    server: Server, token: str, name: str, seed: int
) -> None:
    windows = ["1", "7", "100000", "0.5s", "3s", "1m", "1h"]
    async with asyncio.timeout(120), open_stats(server, token, name, "subscribe=0") as writer:
        waiting = [open_stats(server, token, name, ALL, f"window={w}") for w in windows]
        readers = [await reader.__aenter__() for reader in waiting]
        samples: list[tuple[float, float]] = []
        known = [0]
        for data, pairs in draw_publications(seed, 60):
            await writer.publish(data)
            samples += pairs
            known.append(len(samples))
        for window, reader in zip(windows, readers, strict=True):
            messages = await reader.stats_until(60)
            assert [message["offset"] for message in messages] == list(range(1, 61))
            for message in messages:
                assert message["window"] == window
                assert "skipped" not in message
                assert_like(message, summarise(samples[: known[message["offset"]]], window))
        for reader in waiting:
            await reader.__aexit__(None, None, None)


async def test_a_large_mean_does_not_cost_the_deviation(
    server: Server, token: str, name: str
) -> None:
    values = np.random.default_rng(1).normal(1e9, 1, 1000)
    async with open_stats(server, token, name, "window=1000", "fields=var") as session:
        await session.client.send(save_array(values))
        message = await session.stats()
        assert message["std"] == pytest.approx(values.std(), rel=1e-6)
        assert message["var"] == pytest.approx(values.var(), rel=1e-6)


async def test_nothing_leaves_a_time_window_until_a_newer_sample_comes(
    server: Server, token: str, name: str
) -> None:
    async with open_stats(server, token, name, "window=0.25s") as session:
        await session.publish({"value": 1, "timestamp": START})
        await asyncio.sleep(0.3)
        await session.publish({"value": 2, "timestamp": START - 0.125})
        await session.publish({"value": 3, "timestamp": START + 0.25})
        counts = [message["count"] for message in await session.stats_until(3)]
        assert counts == [1, 2, 1]


async def test_two_subscribers_with_one_spec_get_identical_messages(
    server: Server, token: str, name: str
) -> None:
    spec = ("window=5", "fields=median,rate")
    async with (
        open_stats(server, token, name, *spec) as one,
        open_stats(server, token, name, *spec) as other,
        open_stats(server, token, name, "subscribe=0") as writer,
    ):
        for value in range(10):
            await writer.publish({"value": value})
        for _ in range(10):
            assert await one.receive_text() == await other.receive_text()


async def test_fields_are_those_that_were_asked_for(server: Server, token: str, name: str) -> None:
    async with open_stats(server, token, name, "fields=p99,first") as session:
        await session.publish({"value": 2})
        message = await session.stats()
        assert set(EXTRA) & message.keys() == {"p99", "first"}


# Parameters and bounds


@pytest.mark.parametrize(
    "query",
    [
        "window=100001",
        "window=0",
        "window=-5",
        "window=5x",
        "window=",
        "window=25h",
        "window=0s",
        "window=nan",
        "fields=mode",
        "fields=sum,sum",
        "fields=sum,",
        "interval=-1",
        "interval=soon",
        "interval=inf",
        "interval=3601",
        "history=5",
        "limit=5",
        "offset=1",
        "epoch=abc",
        "epoch=abc&offset=-1",
        "subscribe=0&epoch=abc&offset=1",
        "subscribe=2",
        "window=5&window=5",
    ],
)
async def test_a_bad_parameter_is_named_and_closes_with_4500(
    server: Server, token: str, name: str, query: str
) -> None:
    async with open_client(f"{server.ws}/ws/stats/{name}/?{query}", token) as client:
        code, (error,) = await client.wait_closed()
        assert (code, error["type"], error["code"]) == (4500, "error", "invalid_parameter")
        assert any(part.partition("=")[0] in error["detail"] for part in query.split("&")) or (
            "twice" in error["detail"]
        )


async def test_the_longest_window_is_served(server: Server, token: str, name: str) -> None:
    async with open_stats(server, token, name, "window=100000") as session:
        await session.client.send(save_array(np.ones(100_000, np.int8)))
        assert (await session.stats())["count"] == 100_000
        await session.client.send(save_array(np.full(50_000, 3, np.int8)))
        message = await session.stats()
        assert (message["count"], message["mean"]) == (100_000, 2.0)


async def test_a_topic_serves_sixteen_windows_and_a_freed_one_can_be_taken(
    server: Server, token: str, name: str
) -> None:
    waiting = [open_stats(server, token, name, f"window={size}") for size in range(1, 17)]
    sessions = [await session.__aenter__() for session in waiting]
    async with open_stats(server, token, name, "window=16"):  # the same again is no other
        url = f"{server.ws}/ws/stats/{name}/?window=17"
        async with open_client(url, token) as client:
            code, (error,) = await client.wait_closed()
            assert (code, error["code"]) == (4500, "invalid_parameter")
            assert "16" in error["detail"]
        await waiting[0].__aexit__(None, None, None)
        for _ in range(500):  # until its end has been noted
            async with open_client(url, token) as client:
                if (await client.receive())["type"] == "hello":
                    assert (await client.receive())["type"] == "subscribed"
                    assert await Session(client, None).publish({"value": 1}) == 1
                    break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("it was never freed")
    assert (await sessions[1].stats())["window"] == "2"
    for session in waiting[1:]:
        await session.__aexit__(None, None, None)


async def test_long_windows_skip_what_they_cannot_keep_up_with_and_end_at_the_last(
    server: Server, token: str, name: str
) -> None:
    values = np.random.default_rng(5).normal(size=100_000)
    queries = [(f"window={100_000 - n}", "fields=median,p90,p95,p99") for n in range(8)]
    queries += [(f"window={3600 + n}s", "fields=median,p99,rate") for n in range(8)]
    async with contextlib.AsyncExitStack() as stack:
        writer = await stack.enter_async_context(open_stats(server, token, name, "subscribe=0"))
        await writer.client.send(save_array(values))
        readers = [
            await stack.enter_async_context(open_stats(server, token, name, *query))
            for query in queries
        ]
        for number in range(300):
            await writer.client.send({"value": number})
        values = np.concatenate([values, np.arange(300.0)])[-100_000:]
        for (window, _), reader in zip(queries, readers, strict=True):
            known, size = 0, int(window[7:]) if window[7:].isdigit() else 100_000
            while known < 301:
                message = await reader.stats()
                # The first one may be of publications that came after `subscribed`.
                assert known in (0, message["offset"] - message.get("skipped", 0) - 1)
                known = message["offset"]
            assert (message["count"], message["value"]) == (size, 299.0)
            for field, q in (("median", 0.5), ("p99", 0.99)):
                assert message[field] == np.quantile(values[-size:], q)


async def test_a_session_that_asks_for_none_gets_the_window_of_the_namespace(
    small_server: Server, token: str, name: str
) -> None:
    async with open_stats(small_server, token, name, namespace="ticks") as session:
        await session.publish({"values": [1, 2, 3, 4]})
        message = await session.stats()
        assert (message["window"], message["count"], message["min"]) == ("3", 3, 2.0)


# Intervals


async def test_an_interval_lets_one_push_through_and_each_offset_is_sent_or_skipped(
    server: Server, token: str, name: str
) -> None:
    interval = 0.25
    async with (
        open_stats(server, token, name, f"interval={interval}", "fields=sum") as reader,
        open_stats(server, token, name, "subscribe=0") as writer,
    ):
        began = time.monotonic()
        await writer.publish({"value": 1})
        messages = [await reader.stats()]
        assert messages[0]["offset"] == 1
        for value in range(2, 41):
            await writer.publish({"value": value})
            await asyncio.sleep(0.02)
        messages += await reader.stats_until(40)
        # However late they arrived, there was an interval before each but the first.
        assert (len(messages) - 1) * (interval - 0.01) <= time.monotonic() - began
        assert len(messages) > 2
        known = 0
        for message in messages:
            known += 1 + message.get("skipped", 0)
            assert message["offset"] == known
            assert message["value"] == known
            assert message["sum"] == known * (known + 1) / 2
        assert message.get("skipped", 1) > 0
        await reader.client.receive_nothing(2 * interval)


async def test_the_snapshot_counts_as_the_first_push_of_an_interval(
    server: Server, token: str, name: str
) -> None:
    async with open_stats(server, token, name, "subscribe=0") as writer:
        await writer.publish({"value": 1})
        began = time.monotonic()
        async with open_stats(server, token, name, "interval=1") as reader:
            assert (await reader.stats())["offset"] == 1
            await writer.client.send({"value": 2})
            await writer.client.send({"value": 3})
            messages = await reader.stats_until(3)
            assert len(messages) * 0.99 <= time.monotonic() - began
            assert sum(1 + message.get("skipped", 0) for message in messages) == 2


async def test_without_an_interval_a_burst_gives_one_push_for_each_publication(
    server: Server, token: str, name: str
) -> None:
    async with open_stats(server, token, name, "window=3") as session:
        for value in range(100):
            await session.client.send({"value": value})
        messages = await session.stats_until(100)
        assert [message["offset"] for message in messages] == list(range(1, 101))
        for value, message in enumerate(messages):
            assert message["value"] == value
            assert message["mean"] == np.mean(range(max(value - 2, 0), value + 1))


# What is retained


async def test_a_new_subscriber_gets_the_retained_samples_at_once(
    server: Server, token: str, name: str
) -> None:
    async with open_stats(server, token, name) as first:
        assert first.subscribed is not None
        assert (first.subscribed["offset"], first.subscribed["next"]) == (0, 1)
        assert first.subscribed["recovered"] is None
        await first.client.receive_nothing()
        await first.publish({"values": [1, 3]})
        await first.publish({"value": 5})
    async with open_stats(server, token, name, "window=2") as second:
        assert second.subscribed is not None
        assert (second.subscribed["offset"], second.subscribed["next"]) == (2, 3)
        message = await second.stats()
        assert (message["offset"], message["count"], message["mean"]) == (2, 2, 4.0)
        assert "skipped" not in message
        await second.client.receive_nothing()


async def test_recovery_brings_one_stats_that_counts_what_was_missed(
    server: Server, token: str, name: str
) -> None:
    async with open_stats(server, token, name) as writer:
        for value in range(5):
            await writer.publish({"value": value})
        assert writer.subscribed is not None
        epoch = f"epoch={writer.subscribed['epoch']}"
        for offset, skipped in ((0, 5), (2, 3), (4, 1), (5, 0)):
            async with open_stats(server, token, name, epoch, f"offset={offset}") as reader:
                assert reader.subscribed is not None
                assert reader.subscribed["recovered"] is True
                assert (reader.subscribed["offset"], reader.subscribed["next"]) == (5, offset + 1)
                message = await reader.client.receive()
                assert (message["type"], message["offset"], message["count"]) == ("stats", 5, 5)
                assert message.get("skipped", 0) == skipped
                await reader.client.receive_nothing(0.1)


async def test_recovery_on_an_empty_topic_brings_nothing(
    server: Server, token: str, name: str
) -> None:
    async with open_stats(server, token, name) as first:
        assert first.subscribed is not None
        epoch = f"epoch={first.subscribed['epoch']}"
        async with open_stats(server, token, name, epoch, "offset=0") as reader:
            assert reader.subscribed is not None
            assert reader.subscribed["recovered"] is True
            await reader.client.receive_nothing()


async def test_a_position_that_is_gone_gives_a_gap_and_then_the_statistics(
    small_server: Server, token: str, name: str
) -> None:
    async with open_stats(small_server, token, name, namespace="ticks") as writer:
        for value in range(1, 13):
            await writer.publish({"value": value})
        assert writer.subscribed is not None
        epoch = writer.subscribed["epoch"]
        for asked, offset, after, reason in (
            (epoch, 3, 3, "history_trimmed"),
            ("another", 9, 9, "history_lost"),
        ):
            async with open_stats(
                small_server,
                token,
                name,
                "window=100",
                f"epoch={asked}",
                f"offset={offset}",
                namespace="ticks",
            ) as reader:
                assert reader.subscribed is not None
                assert reader.subscribed["recovered"] is False
                gap = await reader.client.receive()
                assert gap == {
                    "type": "gap",
                    "topic": f"ticks:{name}",
                    "epoch": epoch,
                    "after": after,
                    "next": 8,
                    "reason": reason,
                }
                message = await reader.client.receive()
                assert (message["type"], message["offset"]) == ("stats", 12)
                assert (message["count"], message["min"]) == (5, 8.0)
                assert message["skipped"] == 5


async def test_samples_leave_with_their_publication(
    small_server: Server, token: str, name: str
) -> None:
    async with open_stats(
        small_server, token, name, "window=100", "fields=sum", namespace="ticks"
    ) as session:
        for value in range(20):
            await session.publish({"values": [value, value]})
        for message in await session.stats_until(20):
            kept = range(max(message["offset"] - 5, 0), message["offset"])
            assert (message["count"], message["sum"]) == (2 * len(kept), 2 * sum(kept))


async def test_each_message_of_a_burst_shows_what_was_retained_at_its_offset(
    small_server: Server, token: str, name: str
) -> None:
    async with open_stats(
        small_server, token, name, "window=100", "fields=sum", namespace="ticks"
    ) as session:
        for value in range(60):  # many go into one commit
            await session.client.send({"value": value})
        for message in await session.stats_until(60):
            kept = range(max(message["offset"] - 5, 0), message["offset"])
            assert (message["count"], message["sum"]) == (len(kept), sum(kept))


async def test_a_view_that_is_read_from_the_history_is_the_one_that_was_followed(
    small_server: Server, token: str, name: str
) -> None:
    def figures(message: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in message.items() if key != "skipped"}

    async with open_stats(small_server, token, name, "subscribe=0", namespace="narrow") as writer:
        for value in range(3):
            await writer.publish({"value": value})
        spec = ("window=100", ALL)
        async with open_stats(small_server, token, name, *spec, namespace="narrow") as reader:
            for value in range(60):  # the history holds 400 bytes: a few publications
                await writer.client.send({"values": [value] * (1 + value % 4)})
            followed = (await reader.stats_until(63))[-1]
            await writer.client.send({"type": "history", "ref": "h"})
            reply = await writer.receive_type("history")
            kept = [publication["data"]["values"] for publication in reply["publications"]]
            assert 1 < len(kept) < 15
            assert followed["count"] == sum(map(len, kept))
            assert followed["sum"] == sum(map(sum, kept))
            async with open_stats(small_server, token, name, *spec, namespace="narrow") as late:
                assert figures(await late.stats()) == figures(followed)


async def test_samples_whose_time_is_over_are_in_no_snapshot(
    small_server: Server, token: str, name: str
) -> None:
    async with open_stats(small_server, token, name, namespace="brief") as first:
        await first.publish({"value": 1})
        assert (await first.stats())["window"] == "10s"
        await asyncio.sleep(0.7)
        async with open_stats(small_server, token, name, namespace="brief") as second:
            await second.client.receive_nothing(0.1)
            await first.publish({"value": 5})
            message = await second.stats()
            assert (message["offset"], message["count"], message["value"]) == (2, 1, 5.0)


async def test_history_lists_the_samples(server: Server, token: str, name: str) -> None:
    async with open_stats(server, token, name) as session:
        await session.publish({"value": 1, "timestamp": 10})
        await session.publish({"values": [2, None], "timestamps": [11, 12]})
        await session.client.send({"type": "history", "ref": "h", "after": 1})
        reply = await session.receive_type("history")
        assert session.subscribed is not None
        assert reply["epoch"] == session.subscribed["epoch"]
        assert (reply["ref"], reply["top"], reply["complete"]) == ("h", 2, True)
        (publication,) = reply["publications"]
        assert publication["data"] == {"values": [2.0, None], "timestamps": [11.0, 12.0]}
        assert (publication["offset"], publication["user"]) == (2, "anna")


async def test_stats_messages_hold_no_number_that_json_has_not(
    server: Server, token: str, name: str
) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    async with open_stats(server, token, name, ALL) as session:
        await session.client.send({"values": [1.7e308, -1.7e308, 1.7e308, None]})
        text = await session.receive_text()
        message = json.loads(text, parse_constant=refuse)
        assert (message["max"], message["std"], message["var"]) == (1.7e308, None, None)


async def test_a_history_of_large_batches_fits_into_messages(server: Server, token: str) -> None:
    """Samples are longer as JSON than as they are kept; each reply has to fit all the same."""
    async with open_client(f"{server.ws}/ws/stats/history.large/?subscribe=0", token) as client:
        for size in (6_000,) * 8:
            await client.send(save_array(np.linspace(0, 1, size)))
        after, sizes = 0, []
        while after < 8:
            await client.send({"type": "history", "ref": "h", "after": after})
            reply = await client.receive_type("history")
            sizes += [len(p["data"]["values"]) for p in reply["publications"]]
            after = reply["publications"][-1]["offset"]
        assert sizes == [6_000] * 8
        await client.send(save_array(np.linspace(0, 1, 60_000)))
        await client.send({"type": "history", "ref": "h", "after": 8})
        (only,) = (await client.receive_type("history"))["publications"]
        assert only["offset"] == 9
        assert only["data"] is None
