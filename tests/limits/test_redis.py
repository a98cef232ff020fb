"""The counts in Redis: what one instance sees of the others, and what it writes."""

from typing import Any

import pytest

from realtime.core.errors import Unavailable
from tests.limits.conftest import INSTANCES, OpenCounts, wait_until

ASK = [[("user 1", 3)]]


async def test_instances_together_let_in_as_many_as_one(open_counts: OpenCounts) -> None:
    one, two = open_counts("one"), open_counts("two")
    assert await one.count({}, ASK * 2, is_anew=True) == [None, None]
    assert await two.count({}, ASK * 3, is_anew=True) == [None, "user 1", "user 1"]
    assert await one.count({"user 1": 1}, ASK * 2, is_anew=False) == [None, "user 1"]


async def test_a_connection_counts_for_all_its_subjects_or_for_none(
    open_counts: OpenCounts, client: Any
) -> None:
    one, two = open_counts("one"), open_counts("two")
    asked = [[("user 1", 5), ("address a", 2)]] * 3 + [[("user 1", 2), ("address b", 9)]]
    assert await one.count({}, asked[:1], is_anew=True) == [None]
    assert await two.count({}, asked[1:], is_anew=True) == [None, "address a", "user 1"]
    assert client.hgetall(f"{INSTANCES}:two") == {"": "1", "user 1": "1", "address a": "1"}


async def test_counts_that_are_zero_leave_nothing_behind(
    open_counts: OpenCounts, client: Any
) -> None:
    one = open_counts("one")
    await one.count({"user 1": 4, "user 2": 1}, [], is_anew=True)
    await one.count({"user 1": 0, "user 2": 0}, [], is_anew=False)
    assert client.hgetall(f"{INSTANCES}:one") == {"": "2"}


async def test_beginning_anew_forgets_what_was_written(
    open_counts: OpenCounts, client: Any
) -> None:
    one = open_counts("one")
    await one.count({"user 1": 4}, [], is_anew=True)
    await one.count({"user 2": 1}, [], is_anew=True)
    assert client.hgetall(f"{INSTANCES}:one") == {"": "2", "user 2": "1"}


async def test_an_instance_without_a_lease_counts_no_longer_and_is_forgotten(
    open_counts: OpenCounts, client: Any
) -> None:
    dead, one = open_counts("dead"), open_counts("one")
    await dead.count({"user 1": 3}, [], is_anew=True)
    assert await one.count({}, ASK, is_anew=True) == ["user 1"]
    client.pexpire(f"{INSTANCES}:dead", 1)
    await wait_until(lambda: not client.exists(f"{INSTANCES}:dead"))
    assert await one.count({}, ASK, is_anew=False) == [None]
    assert client.smembers(INSTANCES) == {"one"}
    assert await dead.count({}, [], is_anew=False) is None


async def test_each_call_renews_the_lease(open_counts: OpenCounts, client: Any) -> None:
    one = open_counts("one", LEASE_SECONDS=60.0)
    keys = [INSTANCES, f"{INSTANCES}:one"]  # when the last of them is gone, so is all
    for is_anew in (True, False, False):
        assert await one.count({}, [], is_anew=is_anew) == []
        for key in keys:
            assert 30_000 < client.pttl(key) <= 60_000
            client.pexpire(key, 30_000)


async def test_a_store_that_was_emptied_or_set_back_is_found_out_and_not_written(
    open_counts: OpenCounts, client: Any
) -> None:
    one = open_counts("one")
    await one.count({"user 1": 1}, [], is_anew=True)
    saved = client.hgetall(f"{INSTANCES}:one")
    await one.count({"user 1": 2}, [], is_anew=False)
    client.hset(f"{INSTANCES}:one", mapping=saved)
    assert await one.count({"user 1": 3}, ASK, is_anew=False) is None
    assert client.hgetall(f"{INSTANCES}:one") == saved
    client.flushall()
    assert await one.count({"user 1": 3}, ASK, is_anew=False) is None
    assert client.keys() == []


async def test_the_end_takes_everything_back(open_counts: OpenCounts, client: Any) -> None:
    one = open_counts("one")
    await one.count({"user 1": 1}, ASK, is_anew=True)
    await one.end()
    assert client.smembers(INSTANCES) == set()
    assert client.keys(f"{INSTANCES}:*") == []


async def test_hundreds_of_connections_and_instances_are_one_call(
    open_counts: OpenCounts, client: Any
) -> None:
    for number in range(50):
        client.sadd(INSTANCES, f"other{number}")
        client.hset(f"{INSTANCES}:other{number}", mapping={"": 1, "address a": 2})
    asked = [[(f"user {number}", 1), ("address a", 300)] for number in range(256)]
    assert await open_counts("one").count({}, asked, is_anew=True) == (
        [None] * 200 + ["address a"] * 56
    )


async def test_every_call_is_unavailable_while_redis_does_not_answer(
    open_counts: OpenCounts, client: Any
) -> None:
    one = open_counts("one", HISTORY_TIMEOUT=0.1)
    client.client_pause(30_000, all=False)
    try:
        for call in (one.count({}, ASK, is_anew=True), one.end()):
            with pytest.raises(Unavailable):
                await call
    finally:
        client.client_unpause()
