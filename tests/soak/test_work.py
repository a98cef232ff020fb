"""What costs the server more than the sender, and another user's echo beside it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from realtime.core.windows import FIELDS
from tests.clients import Client, open_client, save_array
from tests.servers import Project, Server, start_server
from tests.soak.conftest import end_in_order
from tests.soak.pace import SCALE
from tests.victim import Victim

SECONDS = 15.0
QUIET_SECONDS = 3.0
QUANTILES = "fields=median,p90,p95,p99"

Attack = Callable[[Server, str, float], Awaitable[str]]


@pytest.fixture
def server(make_project: Callable[..., Project]) -> Iterator[Server]:
    """`manage.py serve` with the limits that it has by default, and presence."""
    project = make_project(
        DJANGO_SETTINGS_MODULE="tests.presence_settings",
        REALTIME_ECHO_POLICY="anyone",
        PYTHONUNBUFFERED="1",
    )
    server = start_server(project, "serve")
    yield server
    end_in_order(server)


def hold_out(server: Server, attack: Attack, *, p99: float) -> None:
    """Attack for the whole time; the victim's p99 stays below twice what is promised (s)."""
    token = server.project.issue_token()
    with Victim(server) as quiet:
        time.sleep(QUIET_SECONDS)
    with Victim(server) as victim:
        told = asyncio.run(attack(server, token, SECONDS * SCALE))
    print(f"\nquiet {quiet}\nbeside the attack {victim}\n{told}")
    # A machine that others use as well makes everybody wait.
    assert victim.quantile(0.99) < 2 * p99 + 2 * quiet.quantile(0.99)


# JSON

SMALL = {
    "objects": '{"a":1}',
    "nests": "[[[[[[]]]]]]",
    "empty objects": "{}",
    "integers": "1",
    "keys twice": '{"a":1,"a":1}',
}


@pytest.mark.parametrize("item", SMALL.values(), ids=SMALL.keys())
def test_texts_that_are_slow_to_read(server: Server, item: str) -> None:
    text = '{"type":"publish","data":[' + ",".join([item] * (60_000 // (len(item) + 1))) + "]}"

    async def attack(server: Server, token: str, seconds: float) -> str:
        end, sent = time.monotonic() + seconds, 0
        while time.monotonic() < end:  # who is closed for it comes back
            with suppress(ConnectionClosed):
                async with open_client(f"{server.ws}/ws/broadcast/x/?subscribe=0", token) as client:
                    while time.monotonic() < end:
                        await client.connection.send(text)
                        sent += 1
                        await asyncio.sleep(1 / 107)
            await asyncio.sleep(0.05)
        return f"{sent} texts of {len(text)} bytes"

    hold_out(server, attack, p99=0.05)


# Statistics

SETS = [",".join(names) for count in range(1, 5) for names in combinations(FIELDS, count)]
READERS = {
    "16 windows of 100,000": [f"window={100_000 - n}&{QUANTILES}" for n in range(16)],
    "16 windows of an hour": [f"window={3600 + n}s&{QUANTILES}" for n in range(16)],
    "100 sets of fields": [f"window=100000&fields={names}" for names in SETS[:100]],
}


@pytest.mark.parametrize("queries", READERS.values(), ids=READERS.keys())
def test_statistics_of_two_full_topics_at_1000_values_a_second(
    server: Server, queries: list[str]
) -> None:
    async def attack(server: Server, token: str, seconds: float) -> str:
        async with AsyncExitStack() as stack:

            async def join(path: str) -> Client:
                url = f"{server.ws}/ws/stats/{path}"
                client = await stack.enter_async_context(open_client(url, token, max_queue=None))
                await client.receive_type("hello")
                return client

            writers = [await join(f"{topic}/?subscribe=0") for topic in "ab"]
            for writer in writers:
                await writer.send(save_array(np.random.default_rng(1).normal(size=100_000)))
            await asyncio.sleep(0.5)
            readers = [await join(f"{topic}/?{query}") for topic in "ab" for query in queries]
            following = [asyncio.create_task(follow(reader)) for reader in readers]
            end, sent, next = time.monotonic() + seconds, 1, time.monotonic()
            while time.monotonic() < end:
                for writer in writers:
                    await writer.send({"value": sent})
                sent += 1
                next += len(writers) / 1000
                await asyncio.sleep(max(next - time.monotonic(), 0))
            for writer in writers:  # and then it rests
                await writer.send({"value": sent})
            sent += 1
            async with asyncio.timeout(30):
                while not all(task.done() for task in following):
                    await asyncio.sleep(0.2)
                    if all(counts[-1] == sent for counts in map(get_offsets, readers)):
                        break
            for task in following:
                task.cancel()
            pushes = sum(len(get_offsets(reader)) for reader in readers)
            return f"{sent} publications on each topic, {pushes} pushes to {len(readers)} readers"

    hold_out(server, attack, p99=0.01)


async def follow(reader: Client) -> None:
    """Note the offsets; each publication is sent, or counted in `skipped`."""
    offsets: list[int] = []
    reader.offsets = offsets  # type: ignore[attr-defined]
    known = None
    while True:
        message: dict[str, Any] = await reader.receive(60)
        if message["type"] != "stats":
            continue
        if known is not None:
            assert message["offset"] == known + 1 + message.get("skipped", 0)
        known = message["offset"]
        offsets.append(known)


def get_offsets(reader: Client) -> list[int]:
    offsets: list[int] = getattr(reader, "offsets", [0])
    return offsets or [0]


# Presence


def test_sessions_that_come_and_go_before_a_hundred_others(server: Server) -> None:
    async def attack(server: Server, token: str, seconds: float) -> str:
        url, told, flaps = f"{server.ws}/ws/room/x/", 0, 0

        async def watch(client: Client) -> None:
            nonlocal told
            while True:
                await client.receive(600)
                told += 1

        async def flap() -> None:
            nonlocal flaps
            while time.monotonic() < end:
                async with open_client(url, token) as client:
                    await client.receive_type("subscribed")
                flaps += 1
                await asyncio.sleep(0.02)

        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(open_client(url, token, max_queue=None))
                for _ in range(96)
            ]
            watching = [asyncio.create_task(watch(client)) for client in clients]
            end = time.monotonic() + seconds
            await asyncio.gather(*(flap() for _ in range(3)))
            for task in watching:
                task.cancel()
        return f"{flaps} came and went, {told} messages to {len(clients)} others"

    hold_out(server, attack, p99=0.05)
