"""Both stores, for one contract."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from channels.layers import channel_layers

from realtime.conf import Settings, build_settings
from realtime.core.entries import Body
from realtime.core.topics import Topic
from realtime.history import SERVER, Accepted, Batch, History, Item, open_history
from tests.servers import RedisServer
from tests.topics import build_namespace


class Writer:
    """Appends to one history in few words; `namespace` bounds it."""

    def __init__(
        self, history: History, topic: Topic, *, publisher: str = SERVER, **options: Any
    ) -> None:
        self.history = history
        self.topic = topic
        self.publisher = publisher
        self.namespace = build_namespace(**options)

    async def append(self, *items: Body | tuple[bytes, str]) -> Accepted:
        """Append one batch: bodies, or bodies with ids."""
        (result,) = await self.history.append([self.batch(*items)])
        assert isinstance(result, Accepted), result
        return result

    def batch(self, *items: Body | tuple[bytes, str]) -> Batch:
        parts = [item if isinstance(item, tuple) else (item, None) for item in items]
        made = [Item(body, id, self.publisher) for body, id in parts]
        return Batch(self.topic, self.namespace, made)

    async def read(self, after: int = 0, limit: int = 1000, **options: Any) -> Any:
        return await self.history.read(self.topic, after=after, limit=limit, **options)


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for every test that leaves it alive; use topics of your own."""
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture
def use_redis(settings: Any) -> Iterator[Callable[[RedisServer], Settings]]:
    """Points the channel layer and the history to a Redis."""

    def use(redis: RedisServer, **options: Any) -> Settings:
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [redis.url]},
            }
        }
        return build_settings({"REDIS_URL": redis.url, "PREFIX": "rt", **options})

    yield use
    channel_layers.backends.clear()


@pytest.fixture(params=["memory", "redis"])
async def history(
    request: pytest.FixtureRequest, use_redis: Callable[[RedisServer], Settings]
) -> AsyncIterator[History]:
    """Each store in turn."""
    if request.param == "redis":
        options = use_redis(request.getfixturevalue("shared_redis"))
    else:
        options = build_settings({})
    history = open_history(options)
    yield history
    await history.close()


@pytest.fixture
def topic(request: pytest.FixtureRequest, tmp_path: Path) -> Topic:
    """A topic that no other test has."""
    return Topic("broadcast", f"t{abs(hash(str(tmp_path)))}")


@pytest.fixture
def write(history: History, topic: Topic) -> Callable[..., Writer]:
    """Makes a writer: `write(history_size=3)`."""

    def make(name: str = "", **options: Any) -> Writer:
        return Writer(history, Topic(topic.namespace, topic.name + name), **options)

    return make
