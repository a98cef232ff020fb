"""One Redis for the tests of limits, and what counts in it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis as redis_client

from realtime.conf import Settings, build_settings
from realtime.limits.connections import SharedConnections
from realtime.limits.redis import RedisCounts
from tests.servers import Project, RedisServer

# The names of the instances that have counts, for the settings that `build` makes.
INSTANCES = "rt.0:{limits}"


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for every test of a module that leaves it alive."""
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture
def client(shared_redis: RedisServer) -> Iterator[Any]:
    """A client of an empty Redis."""
    with redis_client.Redis(port=shared_redis.port, decode_responses=True) as client:
        client.flushall()
        yield client


def build(redis: RedisServer, **options: object) -> Settings:
    """Settings with which nothing ends for a machine that is busy, unless a test says so."""
    patient = {"HISTORY_TIMEOUT": 30.0, "LEASE_SECONDS": 90.0}
    return build_settings({"REDIS_URL": redis.url, "PREFIX": "rt", **patient, **options})


def issue_tokens(project: Project, *names: str) -> dict[str, str]:
    """Access tokens of new users, all by one process."""
    code = (
        "import json\nfrom accounts.models import User\n"
        "from accounts.tokens import issue_access_token\n"
        f"users = [User.objects.create_user(name) for name in {names}]\n"
        "print(json.dumps({user.username: issue_access_token(user=user) for user in users}))"
    )
    tokens: dict[str, str] = json.loads(
        project.manage("shell", "--verbosity", "0", "--command", code)
    )
    return tokens


async def wait_until(is_true: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not is_true():
            await asyncio.sleep(0.01)


OpenCounts = Callable[..., RedisCounts]
OpenInstance = Callable[..., SharedConnections]


@pytest.fixture
async def open_counts(shared_redis: RedisServer, client: Any) -> AsyncIterator[OpenCounts]:
    """Opens the store for an instance: `open_counts("one", LEASE_SECONDS=1.0)`."""
    opened = []

    def open_counts(instance: str, **options: object) -> RedisCounts:
        opened.append(RedisCounts(build(shared_redis, **options), instance=instance))
        return opened[-1]

    yield open_counts
    for counts in opened:
        await counts.close()


@pytest.fixture
async def open_instance() -> AsyncIterator[OpenInstance]:
    """Opens an instance that counts with others: `open_instance(redis, "one", …)`."""
    opened: list[SharedConnections] = []
    tasks: list[asyncio.Task[None]] = []

    def open_instance(redis: RedisServer, name: str, **options: object) -> SharedConnections:
        settings = build(redis, **options)
        store = RedisCounts(settings, instance=name)
        opened.append(SharedConnections(settings, store=store))
        tasks.append(asyncio.create_task(opened[-1].share_forever()))
        return opened[-1]

    yield open_instance
    while tasks:
        for task in tasks:
            task.cancel()
        # Again where it got lost, as in `Runtime.stop`.
        tasks = list((await asyncio.wait(tasks, timeout=0.2))[1])
    for connections in opened:
        await connections.close()
