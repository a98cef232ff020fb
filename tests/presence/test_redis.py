"""Presence in Redis: what two instances see of each other, leases, and an outage."""

import asyncio
import signal
import time
from typing import Any

import pytest
import redis as redis_client

from realtime.core.errors import Unavailable
from realtime.core.topics import Topic
from realtime.presence import Change, Member
from realtime.presence.redis import FORGET_SLICE, KEEP_SECONDS
from tests.presence.conftest import OpenStore
from tests.servers import RedisServer

LEASE = {"LEASE_SECONDS": 0.2}  # 0.1 s in Redis


@pytest.fixture
def client(shared_redis: RedisServer) -> Any:
    with redis_client.Redis(port=shared_redis.port) as client:
        yield client


def make_members(instance: str, count: int, *, first: int = 0) -> list[Member]:
    return [Member(f"{instance}-{n}", instance, f"user{n}", n) for n in range(first, first + count)]


async def test_instances_see_each_other(open_store: OpenStore, topic: Topic) -> None:
    one, two = open_store(topic.name + "1"), open_store(topic.name + "2")
    (version,) = await one.write([Change(topic, make_members(topic.name + "1", 2))])
    assert await two.write([Change(topic, make_members(topic.name + "2", 3))]) == [version + 1]
    await one.take_lease()
    (snapshot,) = await two.read([topic])
    assert len(snapshot.members) == 5
    assert {member.instance for member in snapshot.alive} == {topic.name + "1"}
    await two.take_lease()
    (snapshot,) = await one.read([topic])
    assert len(snapshot.alive) == 5


async def test_a_reader_hears_about_the_leases_that_it_asks_for(
    open_store: OpenStore, topic: Topic
) -> None:
    name = topic.name
    one = open_store(name)
    await one.take_lease()
    (snapshot,) = await one.read([topic], instances=[name, "nobody"])
    assert snapshot.absent == {"nobody"}


async def test_a_renewed_lease_lives_as_long_as_a_new_one(
    open_store: OpenStore, topic: Topic, client: Any
) -> None:
    store = open_store(topic.name, LEASE_SECONDS=200.0)
    key = f"rt.0:lease:{topic.name}"
    await store.take_lease()
    for _ in range(2):
        assert 50_000 < client.pttl(key) <= 100_000
        client.pexpire(key, 50_000)  # half of it is over
        assert await store.renew_lease()


async def test_a_lease_that_is_not_renewed_ends_and_says_so(
    open_store: OpenStore, topic: Topic
) -> None:
    store = open_store(topic.name, **LEASE)
    await store.take_lease()
    async with asyncio.timeout(15):
        while await store.find_alive([topic.name]):
            await asyncio.sleep(0.02)
    assert not await store.renew_lease()
    assert await store.find_alive([topic.name]) == set()  # only taking it brings it back
    store = open_store(topic.name)
    await store.take_lease()
    assert await store.renew_lease()
    await store.end_lease()
    assert await store.find_alive([topic.name]) == set()


async def test_a_flushed_store_has_lost_the_lease(
    open_store: OpenStore, redis: RedisServer
) -> None:
    store = open_store("one", redis=redis)
    await store.take_lease()
    with redis_client.Redis(port=redis.port) as client:
        client.flushall()
    assert not await store.renew_lease()


async def test_the_dead_are_forgotten_and_the_version_shows_it(
    open_store: OpenStore, topic: Topic
) -> None:
    store = open_store(topic.name)
    members = make_members(topic.name, FORGET_SLICE + 5)
    (version,) = await store.write([Change(topic, members)])
    await store.forget(topic.name, {topic: [member.session for member in members[1:]]})
    (snapshot,) = await store.read([topic])
    assert list(snapshot.members) == members[:1]
    assert snapshot.version > version
    before = await store.read_versions([topic])
    await store.forget(topic.name, {topic: ["nobody"]})
    assert await store.read_versions([topic]) == before  # nothing was deleted


async def test_members_stay_while_somebody_asks_and_go_afterwards(
    open_store: OpenStore, topic: Topic, client: Any
) -> None:
    store = open_store(topic.name)
    key = f"rt.0:{{{topic}}}:members"
    await store.write([Change(topic, make_members(topic.name, 1))])
    assert 0 < client.ttl(key) <= KEEP_SECONDS
    client.expire(key, 10)
    await store.read_versions([topic])
    assert client.ttl(key) > KEEP_SECONDS - 60


async def test_many_topics_are_one_call(open_store: OpenStore, topic: Topic) -> None:
    store = open_store(topic.name)
    topics = [Topic(topic.namespace, f"{topic.name}-{n}") for n in range(200)]
    changes = [Change(each, make_members(topic.name, 2, first=n)) for n, each in enumerate(topics)]
    versions = await store.write(changes)
    assert await store.read_versions(topics) == versions
    snapshots = await store.read(topics)
    assert [snapshot.members for snapshot in snapshots] == [change.joined for change in changes]


async def test_no_topics_and_no_instances_cost_no_call(
    open_store: OpenStore, redis: RedisServer
) -> None:
    store = open_store("one", redis=redis)
    redis.kill()
    assert await store.read_versions([]) == []
    assert await store.find_alive([]) == set()


async def test_every_call_is_unavailable_while_redis_is_away(
    open_store: OpenStore, redis: RedisServer, topic: Topic
) -> None:
    store = open_store("one", redis=redis)
    change = Change(topic, make_members("one", 1))
    await store.write([change])
    redis.kill()
    for call in (
        store.write([change]),
        store.read([topic]),
        store.read_versions([topic]),
        store.take_lease(),
        store.renew_lease(),
        store.end_lease(),
        store.find_alive(["one"]),
        store.forget("one", {topic: ["s"]}),
    ):
        with pytest.raises(Unavailable):
            await call
    redis.start()
    await store.write([change])
    (snapshot,) = await store.read([topic])
    assert list(snapshot.members) == change.joined


async def test_a_stalled_redis_ends_a_call_in_time(
    open_store: OpenStore, redis: RedisServer, topic: Topic
) -> None:
    store = open_store("one", redis=redis, HISTORY_TIMEOUT=1.0)
    change = Change(topic, make_members("one", 1))
    await store.write([change])
    redis.signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(Unavailable):
        await store.write([change])
    assert time.monotonic() - began < 5
    redis.signal(signal.SIGCONT)
    await store.write([change])
    (snapshot,) = await store.read([topic])
    assert list(snapshot.members) == change.joined
