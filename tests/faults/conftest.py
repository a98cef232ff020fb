"""Instances that share a Redis and a database, and the clients that watch them break."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from tests.faults.witnesses import TIMEOUT, Publisher, Subscriber
from tests.servers import Project, RedisServer, Server, start_server

# Of all names in Redis, for tests that write there themselves.
PREFIX = "fleet"


@dataclass
class Fleet:
    """Instances of `serve` with one Redis; a test uses the first `count` of them."""

    servers: list[Server]
    redis: RedisServer
    project: Project
    token: str
    count: int

    @property
    def headers(self) -> dict[str, str]:
        """For requests of the user."""
        return {"Authorization": f"Bearer {self.token}"}

    def restart(self, index: int) -> None:
        """Start an instance that has ended, on the same port."""
        port = self.servers[index].port
        self.servers[index] = start_server(self.project, "serve", port=port)

    def urls(self, topic: str) -> list[str]:
        """Where each instance serves a topic."""
        namespace, name = topic.split(":")
        return [f"{server.ws}/ws/{namespace}/{name}/" for server in self.servers[: self.count]]

    def subscribe(self, topic: str, count: int) -> list[Subscriber]:
        """Subscribers, spread over the instances; each goes round when it has to come back."""
        urls = self.urls(topic)
        return [
            Subscriber([*urls[n % len(urls) :], *urls[: n % len(urls)]], self.token)
            for n in range(count)
        ]


@pytest.fixture(scope="session")
def whole_fleet(
    make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Three instances for all tests of this folder; `start_fleet` mends it for each."""
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    project = make_project(
        REDIS_URL=redis.url,
        REALTIME_PREFIX=PREFIX,
        REALTIME_MESSAGES_PER_SECOND="0",
        REALTIME_BYTES_PER_SECOND="0",
        DJANGO_SETTINGS_MODULE="tests.faults.long_settings",
    )
    token = project.issue_token()
    with ThreadPoolExecutor() as pool:
        servers = list(pool.map(start_server, [project] * 3, ["serve"] * 3))
    fleet = Fleet(servers, redis, project, token, count=3)
    yield fleet
    for server in fleet.servers:
        server.stop(kill=True)
    fleet.redis.kill()


@pytest.fixture
def start_fleet(whole_fleet: Fleet) -> Callable[..., Fleet]:
    """`start_fleet(instances, *redis_options)`: so many of them, and an empty Redis."""

    def start(instances: int, *redis_options: str) -> Fleet:
        whole_fleet.redis.restart_empty(*redis_options)
        for index, server in enumerate(whole_fleet.servers):
            if server.process.poll() is not None:
                whole_fleet.restart(index)
        return replace(whole_fleet, count=instances)

    return start


async def accept_more(publisher: Publisher, count: int) -> None:
    """Wait until so many more of its publications are accepted."""
    enough = len(publisher.accepted) + count
    async with asyncio.timeout(TIMEOUT):
        while len(publisher.accepted) < enough:
            await asyncio.sleep(0.02)


@asynccontextmanager
async def following(subscribers: Sequence[Subscriber]) -> AsyncIterator[None]:
    """All of them subscribed, for the time of the block."""
    tasks = [asyncio.create_task(subscriber.follow()) for subscriber in subscribers]
    try:
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(*(subscriber.is_live.wait() for subscriber in subscribers))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def publishing(*publishers: Publisher) -> AsyncIterator[None]:
    """All of them publishing during the block; after it, all that they began is confirmed."""
    stop = asyncio.Event()
    tasks = [
        asyncio.create_task(publisher.publish(until=lambda _: stop.is_set()))
        for publisher in publishers
    ]
    try:
        yield
        stop.set()
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
