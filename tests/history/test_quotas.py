"""What one publisher may take of a history in Redis, on all instances together."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from redis import Redis

from realtime.conf import Settings
from realtime.core.errors import ErrorCode, RateLimited
from realtime.core.topics import Topic
from realtime.history import quotas
from realtime.history.redis import RedisHistory
from tests.clients import open_client
from tests.history.conftest import Writer
from tests.servers import Project, RedisServer, Server

KIB = 1024
Open = Callable[..., RedisHistory]


@pytest.fixture
async def open_history(
    use_redis: Callable[..., Settings], shared_redis: RedisServer
) -> AsyncIterator[Open]:
    """Opens instances, with quotas: `open_history(HISTORY_TOPICS_PER_USER=5)`."""
    async with AsyncExitStack() as stack:

        def open(**options: Any) -> RedisHistory:
            history = RedisHistory(use_redis(shared_redis, **options))
            stack.push_async_callback(history.close)
            return history

        yield open


@pytest.fixture
def user(topic: Topic) -> str:
    """A publisher whom no other test has."""
    return f"user {topic.name}"


class Publisher:
    """Publishes to topics on an instance as long as its quota lets it."""

    def __init__(self, history: RedisHistory, topic: Topic, name: str, **options: Any) -> None:
        self.history = history
        self._topic = topic
        self._name = name
        self._options = options

    async def publish(self, number: int, size: int = 100) -> RateLimited | None:
        """Publish to the topic of that number, unless it is refused."""
        topic = Topic(self._topic.namespace, f"{self._topic.name}-{number}")
        if self._name in self.history.exhausted:
            refusal = self.history.find_refusal(self._name, topic)
            if refusal is not None:
                return refusal
        writer = Writer(self.history, topic, publisher=self._name, **self._options)
        await writer.append(b"x" * size)
        return None

    async def tell(self) -> None:
        await self.history._quotas.tell()


async def test_bytes_spread_over_topics_and_instances_count_together(
    open_history: Open, topic: Topic, user: str
) -> None:
    one, two = (
        Publisher(open_history(HISTORY_BYTES_PER_USER=100 * KIB), topic, user) for _ in range(2)
    )
    for number in range(6):
        assert await (one if number % 2 else two).publish(number, 20 * KIB) is None
    for publisher in (one, two):
        await publisher.tell()
    assert await one.publish(6, 20 * KIB) is None  # it hears of the other with what it tells
    await one.tell()
    refusal = await one.publish(7, 20 * KIB)
    assert refusal is not None
    assert refusal.code is ErrorCode.RATE_LIMITED
    assert "takes 102400 bytes of history" in refusal.detail
    assert await Publisher(one.history, topic, user + "'").publish(8) is None


async def test_topics_are_bounded_and_those_that_are_there_go_on(
    open_history: Open, topic: Topic, user: str
) -> None:
    history = open_history(HISTORY_TOPICS_PER_USER=5)
    publisher = Publisher(history, topic, user)
    for number in range(5):
        assert await publisher.publish(number) is None
    await publisher.tell()
    refusal = await publisher.publish(5)
    assert refusal is not None
    assert "5 topics keep a history" in refusal.detail
    assert await publisher.publish(4) is None
    # Another instance asks for what it does not know, once.
    other = Publisher(open_history(HISTORY_TOPICS_PER_USER=5), topic, user)
    assert await other.publish(0) is None
    await other.tell()
    assert (await other.publish(1), await other.publish(9)) != (None, None)
    await other.tell()
    assert await other.publish(1) is None
    assert await other.publish(9) is not None


async def test_who_goes_on_publishing_to_the_same_topics_is_never_over_it(
    open_history: Open, topic: Topic, user: str
) -> None:
    history = open_history(HISTORY_BYTES_PER_USER=100 * KIB)
    publisher = Publisher(history, topic, user, history_size=10)
    for _ in range(200):
        for number in range(5):
            assert await publisher.publish(number, KIB) is None
        await publisher.tell()
    assert not history.exhausted


async def test_who_is_over_it_may_still_publish_where_the_history_is_full(
    open_history: Open, topic: Topic, user: str
) -> None:
    history = open_history(HISTORY_BYTES_PER_USER=100 * KIB)
    full = Publisher(history, topic, user, history_size=2)
    for _ in range(5):
        await full.publish(0, 20 * KIB)
    for number in range(1, 5):
        await full.publish(number, 20 * KIB)
    await full.tell()
    assert await full.publish(1, KIB) is not None
    assert await full.publish(0, KIB) is None


async def test_what_has_expired_counts_no_longer(
    open_history: Open, topic: Topic, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "ASK_AGAIN", 0.0)
    history = open_history(HISTORY_BYTES_PER_USER=10 * KIB)
    publisher = Publisher(history, topic, user, history_ttl=1)
    await publisher.publish(0, 20 * KIB)
    await publisher.tell()
    refused = 0
    while await publisher.publish(1):
        refused += 1
        assert refused < 1000
        await asyncio.sleep(0.02)
        await publisher.tell()
    assert refused


async def test_the_servers_own_code_has_no_quota_and_0_lifts_them(
    open_history: Open, topic: Topic, user: str, shared_redis: RedisServer
) -> None:
    server = Publisher(open_history(HISTORY_BYTES_PER_USER=1), topic, "server")
    free = Publisher(open_history(HISTORY_BYTES_PER_USER=0, HISTORY_TOPICS_PER_USER=0), topic, user)
    for publisher in (server, free):
        for number in range(3):
            assert await publisher.publish(number) is None
        await publisher.tell()
    keys = Redis.from_url(shared_redis.url).keys(f"*{user}*")
    assert keys == []


async def test_the_keys_of_the_count_expire(
    open_history: Open, topic: Topic, user: str, shared_redis: RedisServer
) -> None:
    publisher = Publisher(open_history(), topic, user)
    await publisher.publish(0)
    await publisher.tell()
    client = Redis.from_url(shared_redis.url)
    keys = client.keys(f"*{{{user}}}*")
    assert len(keys) == 2
    assert all(86_400 < client.ttl(key) <= 86_460 for key in keys)


async def test_it_is_told_by_itself(
    open_history: Open, topic: Topic, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "TELL_DELAY", 0.01)
    history = open_history(HISTORY_TOPICS_PER_USER=1)
    publisher = Publisher(history, topic, user)
    await publisher.publish(0)
    assert history._quotas._timer is not None
    while history._quotas._timer or history._quotas._telling:
        await asyncio.sleep(0.01)
    assert await publisher.publish(1) is not None


async def test_a_client_over_the_quota_is_told_so_over_a_socket_and_rest(
    make_project: Callable[..., Project], launch: Callable[..., Server], redis: RedisServer
) -> None:
    project = make_project(REDIS_URL=redis.url, REALTIME_HISTORY_TOPICS_PER_USER="3")
    server = launch(project, "serve")
    token, other = project.issue_token("anna"), project.issue_token("ben")

    async def publish(http: httpx.AsyncClient, topic: str) -> httpx.Response:
        url = f"{server.http}/api/topics/broadcast:{topic}/publications/"
        return await http.post(url, json={"data": 1})

    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30) as http:
        for number in range(3):
            assert (await publish(http, f"t{number}")).status_code == 201
        number = 3
        while (answer := await publish(http, f"t{number}")).status_code == 201:
            number += 1  # until the count has been told
            assert number < 1000
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert (await publish(http, "t0")).status_code == 201
        async with open_client(f"{server.ws}/ws/broadcast/more/", token) as client:
            await client.send({"type": "publish", "data": 1, "ref": 1})
            error = await client.receive_type("error")
            assert (error["code"], error["ref"]) == ("rate_limited", 1)
            assert "3 topics keep a history" in error["detail"]
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {other}"}, timeout=30) as http:
        assert (await publish(http, "t9999")).status_code == 201
    assert server.read_metric("realtime_limited_total", limit="history_per_user") >= 2
