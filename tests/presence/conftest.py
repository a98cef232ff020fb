"""Both stores, for one contract."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from realtime.conf import build_settings
from realtime.core.topics import Topic
from realtime.presence import Presence
from realtime.presence.memory import MemoryPresence
from realtime.presence.redis import RedisPresence
from tests.servers import RedisServer

OpenStore = Callable[..., RedisPresence]


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for every test that leaves it alive; use topics and instances of your own."""
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture
async def open_store(shared_redis: RedisServer) -> AsyncIterator[OpenStore]:
    """Opens a store for an instance: `open_store("one", redis=…, LEASE_SECONDS=1.0)`."""
    stores = []

    def open_store(instance: str, *, redis: RedisServer = shared_redis, **options: object):
        settings = build_settings({"REDIS_URL": redis.url, "PREFIX": "rt", **options})
        stores.append(RedisPresence(settings, instance=instance))
        return stores[-1]

    yield open_store
    for store in stores:
        await store.close()


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Presence:
    """Each store in turn, of the instance `one`, which has a lease."""
    if request.param == "memory":
        return MemoryPresence()
    store: Presence = request.getfixturevalue("open_store")("one")
    return store


@pytest.fixture
def topic(request: pytest.FixtureRequest, tmp_path: object) -> Topic:
    """A topic that no other test has."""
    return Topic("room", f"t{abs(hash(str(tmp_path)))}")
