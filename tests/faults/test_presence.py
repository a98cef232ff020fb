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

# Who is silent for a third of it is given up, also when the store has forgotten everything: not
# so short that a busy machine takes that long.
LEASE_SECONDS = 5.0
TIMEOUT = 60.0  # in seconds; it only keeps a test from hanging
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
def pair(
    make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Two instances with short leases, which every test leaves alive."""
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    project = make_project(
        REDIS_URL=redis.url,
        DJANGO_SETTINGS_MODULE="tests.presence_settings",
        REALTIME_LEASE_SECONDS=str(LEASE_SECONDS),
    )
    with ThreadPoolExecutor() as pool:
        one, two = pool.map(start_server, [project] * 2, ["serve"] * 2)
    pair = Pair(one, two, redis)
    yield pair
    pair.stop()


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
        async with asyncio.timeout(TIMEOUT):
            reply = await self._replies[ref]
        assert reply["type"] == "presence", reply
        return {entry["session"] for entry in reply["sessions"]}

    async def wait_present(self, expected: Collection[str], *, within: float = TIMEOUT) -> float:
        """Ask until exactly these are present; returns the seconds that it took."""
        began = time.monotonic()
        while (present := await self.ask()) != set(expected):
            assert time.monotonic() - began < within, present ^ set(expected)
            await asyncio.sleep(0.1)
        return time.monotonic() - began

    async def wait_told(self, type: str, expected: Collection[str]) -> None:
        """Wait until hints of a type came for all of these; fails where one came for another."""
        async with asyncio.timeout(TIMEOUT):
            while self._told(type) < set(expected):
                await asyncio.sleep(0.05)
        assert self._told(type) == set(expected)

    def _told(self, type: str) -> set[str]:
        return {session for kind, session in self.hints if kind == type}

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


async def wait_stored(redis: RedisServer, name: str, count: int) -> None:
    """Wait until the store has so many members of a topic."""
    async with asyncio.timeout(TIMEOUT):
        while count_stored(redis, name) != count:
            await asyncio.sleep(0.05)


def count_stored(redis: RedisServer, name: str) -> int:
    """How many members the store has of a topic."""
    with redis_client.Redis(port=redis.port) as client:
        keys = client.keys(f"*:{{room:{name}}}:members")
        fields: set[bytes] = {field for key in keys for field in client.hkeys(key)}
    return len(fields - {b""})


async def test_the_members_of_a_killed_instance_are_gone_within_15_s_and_no_others(
    pair: Pair, launch: Callable[..., Server], report: Report
) -> None:
    name = "killed"
    default = pair.one.project.with_environment(REALTIME_LEASE_SECONDS="15")
    with ThreadPoolExecutor() as pool:
        spared, doomed = pool.map(launch, [default] * 2, ["serve"] * 2)
    async with (
        witness(spared, name) as watcher,
        crowd(spared, name) as living,
        crowd(doomed, name) as dying,
    ):
        living |= {watcher.session}
        await watcher.wait_present(living | dying)
        doomed.stop(kill=True)
        killed = time.monotonic()
        asked = await watcher.watch(living, seconds=5)
        assert await watcher.ask() == living | dying  # a moment of silence is no death
        seconds = 0.0
        while (present := await watcher.ask()) != living:
            asked += 1
            assert living <= present
            seconds = time.monotonic() - killed
            assert seconds < 2 * 15
            await asyncio.sleep(0.1)
        asked += await watcher.watch(living, seconds=1)
        await watcher.wait_told("leave", dying)
        await wait_stored(pair.redis, name, len(living))
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
            await watcher.wait_present(living)
        with redis_client.Redis(port=pair.redis.port) as client:
            client.flushall()
        began = time.monotonic()
        counts = await asyncio.gather(
            first.watch(living, seconds=LEASE_SECONDS), second.watch(living, seconds=LEASE_SECONDS)
        )
        await wait_stored(pair.redis, name, len(living))
        assert {type for type, _ in first.hints + second.hints} == {"join"}
        async with witness(pair.two, name) as late:
            await late.wait_present(living | {late.session})
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
                await watcher.wait_present(living | leaving)
            pair.redis.kill()
        await first.wait_present(living)
        assert await second.ask() == living | leaving
        async with crowd(pair.one, name, 5) as coming:
            living |= coming
            await first.watch(living, seconds=1)
            pair.redis.start()  # it has forgotten everything
            seconds = await second.wait_present(living, within=15)
            asked = await first.watch(living, seconds=LEASE_SECONDS)
            await wait_stored(pair.redis, name, len(living))
            await second.wait_told("leave", leaving)
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
        await watcher.wait_present(stopped | {watcher.session})
        pair.two.process.send_signal(signal.SIGSTOP)
        gone = await watcher.wait_present({watcher.session}, within=4 * LEASE_SECONDS)
        pair.two.process.send_signal(signal.SIGCONT)
        back = await watcher.wait_present(stopped | {watcher.session}, within=2 * LEASE_SECONDS)
        await wait_stored(pair.redis, name, len(stopped) + 1)
        report(
            f"stopped one of two instances: {len(stopped)} members gone after {gone:.1f} s, "
            f"back {back:.1f} s after it went on"
        )


async def test_the_members_of_an_instance_that_is_shut_down_are_gone_at_once(
    pair: Pair, launch: Callable[..., Server], report: Report
) -> None:
    name = "shut"
    # One that would be missed only after a long time.
    lease = 10 * LEASE_SECONDS
    project = pair.two.project.with_environment(REALTIME_LEASE_SECONDS=str(lease))
    third = launch(project, "serve")
    async with witness(pair.one, name) as watcher, crowd(third, name) as leaving:
        await watcher.wait_present(leaving | {watcher.session})
        ended = asyncio.create_task(asyncio.to_thread(third.stop))
        seconds = await watcher.wait_present({watcher.session}, within=lease / 2.5)
        assert await ended == 0
        await wait_stored(pair.redis, name, 1)
        report(f"shut down an instance: {len(leaving)} members gone after {seconds:.1f} s")
