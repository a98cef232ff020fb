"""Connections of a user or an address: counted here, with others, and while Redis is away."""

import asyncio
import logging
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis as redis_client

from realtime.limits.connections import (
    BATCH_COUNTS,
    RELEASE_DELAY,
    Connections,
    SharedConnections,
)
from realtime.limits.redis import RedisCounts
from tests.limits.conftest import INSTANCES, OpenInstance, build, wait_until
from tests.servers import RedisServer

ANNA = ("user anna", 3)
HOUSE = ("address house", 4)


def read_counts(client: Any) -> dict[str, int]:
    """The sums over all instances."""
    sums: dict[str, int] = {}
    for instance in client.smembers(INSTANCES):
        for subject, count in client.hgetall(f"{INSTANCES}:{instance}").items():
            if subject:
                sums[subject] = sums.get(subject, 0) + int(count)
    return sums


def count_calls(client: Any) -> int:
    stats = client.info("commandstats")
    return sum(
        stats[name]["calls"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats
    )


# In one process


async def test_a_connection_is_let_in_while_there_is_room_for_each_subject() -> None:
    connections = Connections()
    assert [await connections.admit([ANNA, HOUSE]) for _ in range(4)] == [None] * 3 + ["user anna"]
    assert [await connections.admit([HOUSE]) for _ in range(2)] == [None, "address house"]
    connections.release(["user anna", "address house"])
    assert await connections.admit([ANNA, HOUSE]) is None


async def test_nothing_is_left_of_those_who_are_gone() -> None:
    connections = Connections()
    await connections.admit([ANNA, HOUSE])
    await connections.admit([("user anna", 1)])
    connections.release(["user anna", "address house"])
    assert not connections.counts


# With others


async def test_instances_let_in_together_what_one_may_have(
    shared_redis: RedisServer, client: Any, open_instance: OpenInstance
) -> None:
    one, two = (open_instance(shared_redis, name) for name in ("one", "two"))
    answers = await asyncio.gather(
        *(instance.admit([("user anna", 100)]) for instance in (one, two) for _ in range(80))
    )
    assert answers.count(None) == 100
    assert read_counts(client) == {"user anna": 100}


async def test_those_who_come_together_share_calls(
    shared_redis: RedisServer, client: Any, open_instance: OpenInstance
) -> None:
    one = open_instance(shared_redis, "one")
    await one.admit([ANNA])
    before = count_calls(client)
    await asyncio.gather(*(one.admit([(f"user {n}", 3)]) for n in range(200)))
    assert count_calls(client) - before <= 2


async def test_what_has_gone_is_told_soon_without_a_call_for_each(
    shared_redis: RedisServer, client: Any, open_instance: OpenInstance
) -> None:
    one = open_instance(shared_redis, "one")
    users = [(f"user {n}", 3) for n in range(200)]
    await asyncio.gather(*(one.admit([user]) for user in users))
    before, began = count_calls(client), time.monotonic()
    for user, _ in users:
        one.release([user])
        await asyncio.sleep(0)
    await wait_until(lambda: not read_counts(client))
    calls = count_calls(client) - before
    assert calls <= 2 + (time.monotonic() - began) / RELEASE_DELAY
    assert calls < len(users) / 4


async def test_who_is_told_goes_before_who_asks_on_the_same_instance(
    shared_redis: RedisServer, client: Any, open_instance: OpenInstance
) -> None:
    one = open_instance(shared_redis, "one")
    for _ in range(20):
        assert await one.admit([("user anna", 1)]) is None
        one.release(["user anna"])


async def test_without_limits_nothing_is_asked(
    shared_redis: RedisServer, client: Any, open_instance: OpenInstance
) -> None:
    one = open_instance(shared_redis, "one")
    await one.admit([ANNA])
    before = count_calls(client)
    assert await one.admit([]) is None
    assert count_calls(client) == before


async def test_after_coming_going_and_being_cancelled_nothing_is_left(
    shared_redis: RedisServer,
    client: Any,
    open_instance: OpenInstance,
    report: Callable[[str], None],
) -> None:
    instances = [open_instance(shared_redis, name) for name in ("one", "two")]
    chance = random.Random(6)
    ends = {"refused": 0, "cancelled": 0, "over": 0}

    async def visit(number: int) -> None:
        instance = instances[number % 2]
        subjects = [(f"user {number % 5}", 6), (f"address {number % 3}", 9)]
        asking = asyncio.ensure_future(instance.admit(subjects))
        if chance.random() < 0.4:
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.002]))
            if asking.cancel():
                try:
                    await asking
                except asyncio.CancelledError:
                    ends["cancelled"] += 1
                    return
        if await asking is not None:
            ends["refused"] += 1
            return
        await asyncio.sleep(chance.random() * 0.01)
        instance.release([subject for subject, _ in subjects])
        ends["over"] += 1

    visits = []
    for number in range(1500):
        visits.append(asyncio.create_task(visit(number)))
        if not number % 10:
            await asyncio.sleep(0.001)
    await asyncio.gather(*visits)
    report(f"{ends}")
    assert min(ends.values()) > 10  # of each kind enough, whatever a busy machine makes of it
    assert [instance.counts for instance in instances] == [{}, {}]
    await wait_until(lambda: not read_counts(client))


async def test_who_gives_up_while_the_question_is_under_way_is_not_counted(
    shared_redis: RedisServer, client: Any, open_instance: OpenInstance
) -> None:
    one = open_instance(shared_redis, "one")
    await one.admit([("user boris", 3)])
    client.client_pause(30_000, all=False)
    asking = asyncio.ensure_future(one.admit([ANNA]))
    await asyncio.sleep(0.05)
    asking.cancel()
    client.client_unpause()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await one.admit([("user clara", 3)]) is None  # asked after anna's answer has come
    await wait_until(lambda: read_counts(client) == {"user boris": 1, "user clara": 1})
    assert one.counts == {"user boris": 1, "user clara": 1}


async def test_who_gives_up_when_the_answer_has_come_is_not_counted(
    shared_redis: RedisServer,
    client: Any,
    open_instance: OpenInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = open_instance(shared_redis, "one")
    answer = one._answer

    def answer_and_cancel(*arguments: Any) -> None:
        answer(*arguments)
        asking.cancel()

    monkeypatch.setattr(one, "_answer", answer_and_cancel)
    asking = asyncio.ensure_future(one.admit([ANNA]))
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not one.counts
    await wait_until(lambda: not read_counts(client))


# When instances and Redis fail


async def test_counts_of_an_instance_that_ends_go_at_once(
    shared_redis: RedisServer, client: Any, open_instance: OpenInstance
) -> None:
    one = open_instance(shared_redis, "one")
    await one.admit([ANNA])
    await one.close()
    assert client.keys(f"{INSTANCES}*") == []


async def test_an_emptied_redis_gets_all_counts_anew(
    shared_redis: RedisServer,
    client: Any,
    open_instance: OpenInstance,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = open_instance(shared_redis, "one", LEASE_SECONDS=0.6)
    crowd = [(f"user {n}", 3) for n in range(2 * BATCH_COUNTS + 50)]
    assert set(await asyncio.gather(*(one.admit([user]) for user in crowd))) == {None}
    client.flushall()
    await wait_until(lambda: len(read_counts(client)) == len(crowd))  # at the next renewal
    client.flushall()
    assert [await one.admit([("user 7", 3)]) for _ in range(3)] == [None, None, "user 7"]
    await wait_until(lambda: read_counts(client).get("user 7") == 3)
    assert "writing them anew" in caplog.text


async def test_without_redis_this_process_decides_at_once_and_it_heals(
    redis: RedisServer, open_instance: OpenInstance, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    one, two = (open_instance(redis, name) for name in ("one", "two"))
    for instance in (one, two):
        assert await instance.admit([ANNA]) is None
    redis.kill()
    began = time.monotonic()
    answers = [await one.admit([ANNA]) for _ in range(100)]
    assert time.monotonic() - began < 5  # where each waited for the deadline, it would be minutes
    assert answers == [None] * 2 + ["user anna"] * 98
    assert await two.admit([ANNA]) is None
    redis.start()
    with redis_client.Redis(port=redis.port, decode_responses=True) as client:
        await wait_until(lambda: count_lines(caplog, "together again") == 2)
        assert read_counts(client) == {"user anna": 5}
        one.release(["user anna"])
        two.release(["user anna"])
        assert await two.admit([ANNA]) == "user anna"
        one.release(["user anna"])
        await wait_until(lambda: read_counts(client) == {"user anna": 2})
        assert await two.admit([ANNA]) is None
    assert count_lines(caplog, "together again") == 2
    assert count_lines(caplog, "in this process alone") == 2


def count_lines(caplog: pytest.LogCaptureFixture, text: str) -> int:
    """How many lines of the log of limits have that text."""
    messages = (r.getMessage() for r in caplog.records if r.name == "realtime.limits")
    return sum(text in message for message in messages)


async def test_a_redis_that_hangs_costs_the_deadline_once(
    redis: RedisServer, open_instance: OpenInstance
) -> None:
    one = open_instance(redis, "one", HISTORY_TIMEOUT=1.0)
    await one.admit([ANNA])
    redis.signal(signal.SIGSTOP)
    began = time.monotonic()
    answers = await asyncio.gather(*(one.admit([ANNA]) for _ in range(5)))
    assert 0.95 < time.monotonic() - began < 3  # not one after another
    assert sorted(map(str, answers)) == ["None", "None", "user anna", "user anna", "user anna"]
    began = time.monotonic()
    assert await one.admit([ANNA]) == "user anna"
    assert time.monotonic() - began < 0.9
    redis.signal(signal.SIGCONT)
    with redis_client.Redis(port=redis.port, decode_responses=True) as client:
        await wait_until(lambda: read_counts(client) == {"user anna": 3})
    one.release(["user anna"])
    assert await one.admit([ANNA]) is None


async def test_a_redis_that_is_away_at_the_start_keeps_nobody_out(
    redis: RedisServer, open_instance: OpenInstance
) -> None:
    redis.kill()
    one = open_instance(redis, "one")
    assert [await one.admit([ANNA]) for _ in range(4)] == [None] * 3 + ["user anna"]


async def test_an_instance_that_slept_past_its_lease_writes_its_counts_anew(
    shared_redis: RedisServer, client: Any, open_instance: OpenInstance
) -> None:
    one = open_instance(shared_redis, "one", LEASE_SECONDS=0.3)
    await one.admit([ANNA])
    time.sleep(0.5)  # the whole loop, as SIGSTOP would
    assert read_counts(client) == {}
    await wait_until(lambda: read_counts(client) == {"user anna": 1})


async def test_who_asks_is_answered_even_where_nobody_shares(shared_redis: RedisServer) -> None:
    """Were the task to end for a mistake, the deadline still holds."""
    settings = build(shared_redis, HISTORY_TIMEOUT=0.1)
    connections = SharedConnections(settings, store=RedisCounts(settings, instance="one"))
    answers = await asyncio.gather(*(connections.admit([ANNA]) for _ in range(4)))
    assert sorted(map(str, answers)) == ["None"] * 3 + ["user anna"]
    await connections.close()
