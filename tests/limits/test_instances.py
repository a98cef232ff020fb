"""Two real instances behind a proxy, with one Redis: connections are counted together."""

import asyncio
import random
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import redis as redis_client
from websockets.exceptions import ConnectionClosed, InvalidMessage

from tests.clients import Client, open_client
from tests.limits.conftest import issue_tokens
from tests.servers import Project, RedisServer, Server, start_server

PER_USER = 4
PER_ADDRESS = 6
LEASE_SECONDS = 4.0
TOPIC = "/ws/room/x/"
# What is waited for comes, or never: so long that a busy machine makes no difference, in seconds.
PATIENCE = 30.0

Report = Callable[[str], None]


@dataclass
class Pair:
    """Two instances of `serve` that believe one proxy, with tokens of three users."""

    servers: list[Server]
    redis: RedisServer
    project: Project
    tokens: dict[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def open(
        self, index: int, user: str | None = None, *, address: str, path: str = TOPIC
    ) -> Any:
        """A client as a proxy passes it on, which has written an address of its own as well."""
        async with open_client(
            self.servers[index].ws + path,
            self.tokens[user] if user else None,
            additional_headers={"X-Forwarded-For": f"198.51.100.1, {address}"},
            open_timeout=PATIENCE,
        ) as client:
            yield client

    async def join(self, stack: AsyncExitStack, *arguments: Any, **options: Any) -> int | None:
        """Open a session that lasts as long as the stack; returns the code if it was refused."""
        client: Client = await stack.enter_async_context(self.open(*arguments, **options))
        try:
            await client.receive_type("hello")
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd else 1006
        return None

    def read_counts(self) -> dict[str, int]:
        """What Redis holds, without the numbers of calls."""
        sums: dict[str, int] = {}
        with redis_client.Redis(port=self.redis.port, decode_responses=True) as client:
            for key in client.keys("*:{limits}:*"):
                for subject, count in client.hgetall(key).items():
                    if subject:
                        sums[subject] = sums.get(subject, 0) + int(count)
        return sums

    def count_limited(self) -> float:
        """How many were refused because their user had enough."""
        return sum(
            server.read_metric("realtime_limited_total", limit="connections_per_user")
            for server in self.servers
        )

    async def wait_counts(self, total: int) -> None:
        """Wait until Redis holds so many connections of addresses."""
        async with asyncio.timeout(PATIENCE):
            while True:
                counts = await asyncio.to_thread(self.read_counts)
                if sum(n for subject, n in counts.items() if subject[0] == "a") == total:
                    return
                await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def pair(
    make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    project = make_project(
        REDIS_URL=redis.url,
        DJANGO_SETTINGS_MODULE="tests.presence_settings",
        TRUSTED_PROXIES="1",
        REALTIME_CONNECTIONS_PER_USER=str(PER_USER),
        REALTIME_CONNECTIONS_PER_ADDRESS=str(PER_ADDRESS),
        REALTIME_LEASE_SECONDS=str(LEASE_SECONDS),
        REALTIME_LEASE_RENEWAL_SECONDS="1",
        REALTIME_AUTHENTICATION_TIMEOUT=str(2 * PATIENCE),
        PYTHONUNBUFFERED="1",
    )
    with ThreadPoolExecutor() as pool:
        tokens = pool.submit(issue_tokens, project, "anna", "boris")
        servers = list(pool.map(start_server, [project] * 2, ["serve"] * 2))
    pair = Pair(servers, redis, project, tokens.result())
    yield pair
    for server in pair.servers:
        server.process.send_signal(signal.SIGCONT)
        server.stop(kill=True)
    pair.redis.kill()


async def test_a_user_has_so_many_connections_on_both_instances_together(pair: Pair) -> None:
    addresses = (f"203.0.113.{n}" for n in range(100))
    before = pair.count_limited()
    async with AsyncExitStack() as stack:
        async with AsyncExitStack() as first:
            assert await pair.join(first, 0, "anna", address=next(addresses)) is None
            for n in range(1, PER_USER):
                assert await pair.join(stack, n % 2, "anna", address=next(addresses)) is None
            for n in range(2):
                assert await pair.join(stack, n, "anna", address=next(addresses)) == 4004
            assert await pair.join(stack, 0, "boris", address=next(addresses)) is None
        await pair.wait_counts(PER_USER)  # those three and boris
        assert await pair.join(stack, 1, "anna", address=next(addresses)) is None
        assert await pair.join(stack, 0, "anna", address=next(addresses)) == 4004
    assert pair.count_limited() - before == 3
    await pair.wait_counts(0)


async def test_a_network_has_so_many_whatever_its_clients_write_into_headers(pair: Pair) -> None:
    async with AsyncExitStack() as stack:
        for n in range(PER_ADDRESS):
            address = f"[2001:db8:0:7::{n:x}]:{n + 1}"
            assert await pair.join(stack, n % 2, address=f"10.0.0.{n}, {address}") is None
        for n in range(2):
            assert await pair.join(stack, n, address="2001:db8:0:7:ffff::1") == 4004
        assert await pair.join(stack, 0, address="2001:db8:0:8::1") is None
    await pair.wait_counts(0)


async def test_sockets_that_do_not_say_who_they_are_count_for_their_address(pair: Pair) -> None:
    path, address = "/ws/figures/x/", "203.0.113.200"
    async with AsyncExitStack() as stack:
        waiting = [
            await stack.enter_async_context(pair.open(n % 2, address=address, path=path))
            for n in range(PER_ADDRESS)
        ]
        await pair.wait_counts(PER_ADDRESS)
        for index in range(2):
            async with pair.open(index, address=address, path=path) as client:
                assert await client.wait_closed() == (4004, [])
            async with open_client(  # what comes before the limits is still said before them
                pair.servers[index].ws + path,
                "garbage",
                additional_headers={"X-Forwarded-For": address},
                open_timeout=PATIENCE,
            ) as client:
                assert await client.wait_closed() == (4502, [])
        token = {"type": "authenticate", "token": pair.tokens["anna"]}
        for client in waiting[:PER_USER]:
            await client.send(token)
            assert (await client.receive())["user"] == "anna"
        await waiting[PER_USER].send(token)
        assert await waiting[PER_USER].wait_closed() == (4004, [])
        await pair.wait_counts(PER_ADDRESS - 1)
        assert pair.read_counts()["address 203.0.113.200"] == PER_ADDRESS - 1
    await pair.wait_counts(0)


async def test_logs_show_the_address_that_the_proxy_saw(pair: Pair) -> None:
    server, address = pair.servers[0], "203.0.113.77"
    async with AsyncExitStack() as stack:
        assert await pair.join(stack, 0, address=address) is None
    headers = {"X-Forwarded-For": f"198.51.100.1, {address}"}
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        await client.get(f"{server.http}/livez?seen", headers=headers)
    async with asyncio.timeout(PATIENCE):
        while not re.search(
            rf"request .*path=/livez .*address={address}\b(?!:)", server.read_log()
        ):
            await asyncio.sleep(0.05)
        while not re.search(rf"session closed .*address={address}\b", server.read_log()):
            await asyncio.sleep(0.05)
    assert "198.51.100.1" not in server.read_log()


async def test_after_every_way_to_end_nothing_is_counted(pair: Pair, report: Report) -> None:
    chance = random.Random(3)
    ends = dict.fromkeys(("refused", "closed", "cut", "in mid-handshake", "not signed in"), 0)

    async def visit(number: int) -> None:
        way = chance.choice(list(ends))
        user = chance.choice(["anna", "boris", None])
        path = TOPIC
        if way == "not signed in":
            user, path = None, "/ws/figures/x/"
        address = f"203.0.113.{chance.randrange(4)}"
        with suppress(ConnectionClosed, InvalidMessage, EOFError):
            async with pair.open(number % 2, user, address=address, path=path) as client:
                if way in ("closed", "cut", "refused"):
                    await client.receive()
                if way in ("in mid-handshake", "cut"):
                    client.connection.transport.abort()
                ends[way] += 1
                return
        ends["refused"] += 1

    gate = asyncio.Semaphore(25)

    async def pass_gate(number: int) -> None:
        async with gate:
            await visit(number)

    await asyncio.gather(*map(pass_gate, range(250)))
    report(f"{ends}")
    assert min(ends.values()) > 12
    await pair.wait_counts(0)
    assert pair.read_counts() == {}
    async with AsyncExitStack() as stack:  # and the processes think the same
        for index in (0, 0, 1, 1):
            assert await pair.join(stack, index, "anna", address="203.0.113.1") is None


async def test_an_emptied_redis_knows_all_connections_again(pair: Pair) -> None:
    async with AsyncExitStack() as stack:
        for n in range(PER_USER):
            assert await pair.join(stack, n % 2, "anna", address="203.0.113.1") is None
        with redis_client.Redis(port=pair.redis.port) as client:
            client.flushall()
        await pair.wait_counts(PER_USER)
        for n in range(2):
            assert await pair.join(stack, n, "anna", address="203.0.113.1") == 4004
    await pair.wait_counts(0)


async def test_without_redis_each_instance_counts_for_itself_until_it_is_back(pair: Pair) -> None:
    async with AsyncExitStack() as stack:
        for n in range(2):
            assert await pair.join(stack, n, "anna", address="203.0.113.1") is None
        pair.redis.kill()
        codes = []
        path = "/ws/echo/"  # a topic would need Redis
        for n in range(2):
            for _ in range(PER_USER - 1):
                client = await stack.enter_async_context(
                    pair.open(n, "anna", address=f"203.0.113.{n}", path=path)
                )
                await client.send(b"here")
                assert await client.receive() == b"here"
            async with pair.open(n, "anna", address=f"203.0.113.{n}", path=path) as client:
                codes.append((await client.wait_closed())[0])
        assert codes == [4004, 4004]
        pair.redis.start()
        await pair.wait_counts(2 * PER_USER)
        assert pair.read_counts()["user 1"] == 2 * PER_USER
    await pair.wait_counts(0)


# From here on instances are gone: these two come last.


async def test_a_killed_instance_leaves_its_places_within_its_lease(
    pair: Pair, report: Report
) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(PER_USER):
            assert await pair.join(stack, 1, "boris", address="203.0.113.1") is None
        assert await pair.join(stack, 0, "boris", address="203.0.113.1") == 4004
        loop = asyncio.get_running_loop()
        began = loop.time()
        pair.servers[1].stop(kill=True)
        async with asyncio.timeout(PATIENCE):
            while await pair.join(stack, 0, "boris", address="203.0.113.2") == 4004:
                await asyncio.sleep(0.2)
        seconds = loop.time() - began
        report(f"after {seconds:.1f} s")
        assert seconds < 2 * LEASE_SECONDS


async def test_an_instance_that_ends_in_order_leaves_nothing(pair: Pair) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(PER_USER):
            assert await pair.join(stack, 0, "anna", address="203.0.113.1") is None
        await pair.wait_counts(PER_USER)
        assert await asyncio.to_thread(pair.servers[0].stop) == 0
    with redis_client.Redis(port=pair.redis.port, decode_responses=True) as client:
        assert client.keys("*:{limits}:*") == []
