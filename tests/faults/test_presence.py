"""Instances and Redis are killed, stopped and emptied: who is present stays true."""

import asyncio
import itertools
import json
import signal
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import redis as redis_client

from tests.clients import Client, open_client
from tests.servers import Project, RedisServer, Server, start_server

LEASE_SECONDS = 3.0
CROWD = 20

Report = Callable[[str], None]


@dataclass
class Pair:
    """Two instances of `serve`, one Redis."""

    one: Server
    two: Server
    redis: RedisServer

    def stop(self) -> None:
        for server in (self.one, self.two):
            server.process.send_signal(signal.SIGCONT)
            server.stop(kill=True)
        self.redis.kill()


@pytest.fixture(scope="module")
def start_pair(
    make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Pair]]:
    """Starts two instances: `start_pair(REALTIME_LEASE_SECONDS="3")`."""
    pairs: list[Pair] = []

    def start(**environment: str) -> Pair:
        redis = RedisServer(tmp_path_factory.mktemp("redis"))
        redis.start()
        project = make_project(
            REDIS_URL=redis.url, DJANGO_SETTINGS_MODULE="tests.presence_settings", **environment
        )
        with ThreadPoolExecutor() as pool:
            one, two = pool.map(start_server, [project] * 2, ["serve"] * 2)
        pairs.append(Pair(one, two, redis))
        return pairs[-1]

    yield start
    for pair in pairs:
        pair.stop()


@pytest.fixture(scope="module")
def pair(start_pair: Callable[..., Pair]) -> Pair:
    """Two instances with short leases, for every test that leaves both alive."""
    return start_pair(REALTIME_LEASE_SECONDS=str(LEASE_SECONDS))


class Witness:
    """A session that notes every hint, and asks who is there."""

    def __init__(self, client: Client, session: str) -> None:
        self.session = session
        self.hints: list[tuple[str, str]] = []
        self._client = client
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._refs = itertools.count()

    async def listen(self) -> None:
        """Read until cancelled."""
        while True:
            # No time limit: on Python 3.11 one can swallow that this task is cancelled.
            message = json.loads(await self._client.connection.recv())
            if message["type"] in ("join", "leave"):
                self.hints.append((message["type"], message["session"]))
            elif message["type"] in ("presence", "error"):
                self._replies.pop(message["ref"]).set_result(message)

    async def ask(self) -> set[str]:
        """The sessions that are present."""
        ref = next(self._refs)
        self._replies[ref] = asyncio.get_running_loop().create_future()
        await self._client.send({"type": "presence", "ref": ref})
        reply = await asyncio.wait_for(self._replies[ref], 10)
        assert reply["type"] == "presence", reply
        return {entry["session"] for entry in reply["sessions"]}

    async def wait_present(self, expected: Collection[str], *, within: float) -> float:
        """Ask until exactly these are present; returns the seconds that it took."""
        began = time.monotonic()
        while (present := await self.ask()) != set(expected):
            assert time.monotonic() - began < within, present ^ set(expected)
            await asyncio.sleep(0.1)
        return time.monotonic() - began

    async def watch(self, living: set[str], *, seconds: float) -> int:
        """Ask all the time; fails where one of the living is missing. Returns how often."""
        deadline = time.monotonic() + seconds
        for count in itertools.count(1):
            missing = living - await self.ask()
            assert not missing, missing
            if time.monotonic() > deadline:
                return count
            await asyncio.sleep(0.1)
        raise AssertionError


@asynccontextmanager
async def witness(server: Server, name: str) -> AsyncIterator[Witness]:
    async with open_client(f"{server.ws}/ws/room/{name}/", max_queue=None) as client:
        session = (await client.receive_type("hello"))["session"]
        await client.receive_type("subscribed")
        witness = Witness(client, session)
        listening = asyncio.create_task(witness.listen())
        try:
            yield witness
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


@asynccontextmanager
async def crowd(server: Server, name: str, count: int = CROWD) -> AsyncIterator[set[str]]:
    """The sessions of that many clients that do nothing."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(witness(server, name)) for _ in range(count)]
        yield {client.session for client in clients}


def count_stored(redis: RedisServer, name: str) -> int:
    """How many members the store has of a topic."""
    with redis_client.Redis(port=redis.port) as client:
        fields: dict[bytes, bytes] = client.hgetall(f"rt:{{room:{name}}}:members")
    return len(fields.keys() - {b""})


async def test_the_members_of_a_killed_instance_are_gone_within_15_s_and_no_others(
    start_pair: Callable[..., Pair], report: Report
) -> None:
    pair = start_pair()  # the default figures
    name = "killed"
    async with (
        witness(pair.one, name) as watcher,
        crowd(pair.one, name) as living,
        crowd(pair.two, name) as dying,
    ):
        living |= {watcher.session}
        await watcher.wait_present(living | dying, within=5)
        pair.two.stop(kill=True)
        killed = time.monotonic()
        asked = await watcher.watch(living, seconds=5)
        assert await watcher.ask() == living | dying  # a moment of silence is no death
        seconds = 0.0
        while (present := await watcher.ask()) != living:
            asked += 1
            assert living <= present
            seconds = time.monotonic() - killed
            assert seconds < 30
            await asyncio.sleep(0.1)
        asked += await watcher.watch(living, seconds=1)
        told = {session for type, session in watcher.hints if type == "leave"}
        assert told == dying
        assert count_stored(pair.redis, name) == len(living)
        report(
            f"killed one of two instances: {len(dying)} members gone after {seconds:.1f} s, "
            f"{len(living)} living never missing in {asked} answers"
        )


async def test_after_flushall_all_members_are_back_and_were_never_missing(
    pair: Pair, report: Report
) -> None:
    name = "flushed"
    async with (
        witness(pair.one, name) as first,
        witness(pair.two, name) as second,
        crowd(pair.one, name) as some,
        crowd(pair.two, name) as others,
    ):
        living = some | others | {first.session, second.session}
        for watcher in (first, second):
            await watcher.wait_present(living, within=5)
        with redis_client.Redis(port=pair.redis.port) as client:
            client.flushall()
        assert count_stored(pair.redis, name) == 0
        began = time.monotonic()
        counts = await asyncio.gather(
            first.watch(living, seconds=LEASE_SECONDS), second.watch(living, seconds=LEASE_SECONDS)
        )
        assert count_stored(pair.redis, name) == len(living)
        assert {type for type, _ in first.hints + second.hints} == {"join"}
        async with witness(pair.two, name) as late:
            await late.wait_present(living | {late.session}, within=1)
        report(
            f"FLUSHALL: {len(living)} members, all in the store again within "
            f"{time.monotonic() - began:.1f} s, none missing in {sum(counts)} answers"
        )


async def test_what_happens_while_redis_is_away_is_known_when_it_is_back(
    pair: Pair, report: Report
) -> None:
    name = "away"
    async with (
        witness(pair.one, name) as first,
        witness(pair.two, name) as second,
        crowd(pair.two, name) as staying,
    ):
        living = staying | {first.session, second.session}
        async with crowd(pair.one, name) as leaving:
            for watcher in (first, second):
                await watcher.wait_present(living | leaving, within=5)
            pair.redis.kill()
        await first.wait_present(living, within=5)
        assert await second.ask() == living | leaving
        async with crowd(pair.one, name, 5) as coming:
            living |= coming
            await first.watch(living, seconds=1)
            pair.redis.start()  # it has forgotten everything
            seconds = await second.wait_present(living, within=15)
            asked = await first.watch(living, seconds=LEASE_SECONDS)
            assert count_stored(pair.redis, name) == len(living)
            told = {session for type, session in second.hints if type == "leave"}
            assert told == leaving
            report(
                f"Redis away: {len(leaving)} left and {len(coming)} came, known on the other "
                f"instance {seconds:.1f} s after the return; none missing in {asked} answers"
            )


async def test_an_instance_that_was_stopped_for_long_comes_back_whole(
    pair: Pair, report: Report
) -> None:
    name = "stopped"
    async with (
        witness(pair.one, name) as watcher,
        crowd(pair.two, name) as stopped,
    ):
        await watcher.wait_present(stopped | {watcher.session}, within=5)
        pair.two.process.send_signal(signal.SIGSTOP)
        gone = await watcher.wait_present({watcher.session}, within=4 * LEASE_SECONDS)
        pair.two.process.send_signal(signal.SIGCONT)
        back = await watcher.wait_present(stopped | {watcher.session}, within=2 * LEASE_SECONDS)
        assert count_stored(pair.redis, name) == len(stopped) + 1
        report(
            f"stopped one of two instances: {len(stopped)} members gone after {gone:.1f} s, "
            f"back {back:.1f} s after it went on"
        )


async def test_the_members_of_an_instance_that_is_shut_down_are_gone_at_once(
    pair: Pair, report: Report
) -> None:
    name = "shut"
    third = start_server(pair.two.project, "serve")
    try:
        async with witness(pair.one, name) as watcher, crowd(third, name) as leaving:
            await watcher.wait_present(leaving | {watcher.session}, within=5)
            ended = asyncio.create_task(asyncio.to_thread(third.stop))
            seconds = await watcher.wait_present({watcher.session}, within=LEASE_SECONDS / 2)
            assert await ended == 0
            assert count_stored(pair.redis, name) == 1
            report(f"shut down an instance: {len(leaving)} members gone after {seconds:.1f} s")
    finally:
        third.stop(kill=True)
