"""Redis is cut off, killed, emptied, set back and stopped, while publishing goes on."""

import asyncio
import itertools
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import redis as redis_client

from tests.clients import open_client
from tests.faults.conftest import Fleet, accept_more, following, publishing
from tests.faults.witnesses import TIMEOUT, Publisher, Subscriber, settle

# A gap is promised within 2 s of the return; a test may wait twice as long.
GAP_DEADLINE = 4.0

# A topic for each test.
topics = (f"broadcast:redis{number}" for number in itertools.count())

# With `everysec` Redis may hold back what it confirmed while the disk is busy, up to 2 s.
LASTING = ("--appendonly", "yes", "--appendfsync", "always")

StartFleet = Callable[..., Fleet]
Report = Callable[[str], None]


async def test_a_pubsub_connection_that_is_killed_all_the_time_loses_nothing(
    start_fleet: StartFleet, report: Report
) -> None:
    """Two instances, five subscribers, a kill every 0.3 s for 8 s, at least 5,000 publications."""
    topic = next(topics)
    fleet = start_fleet(2)
    subscribers = fleet.subscribe(topic, 5)
    publishers = [
        Publisher([url], fleet.token, name=f"p{n}-", rate=450)
        for n, url in enumerate(fleet.urls(topic))
    ]
    kills = 0
    async with following(subscribers):
        with redis_client.Redis(port=fleet.redis.port) as client:
            async with publishing(*publishers):
                end = time.monotonic() + 8
                async with asyncio.timeout(3 * TIMEOUT):
                    while (
                        time.monotonic() < end
                        or sum(publisher.next for publisher in publishers) < 5000
                        or kills < 10
                    ):
                        await asyncio.sleep(0.3)
                        kills += client.client_kill_filter(_type="pubsub")
        account = await settle(publishers, subscribers)
    report(f"killed {kills} pubsub connections: {account}")
    assert account.accepted >= 5000
    assert account.is_whole
    assert all(subscriber.sessions == 1 for subscriber in subscribers)


async def test_redis_with_an_append_only_file_is_killed_twice_and_nothing_accepted_is_missing(
    start_fleet: StartFleet, report: Report
) -> None:
    topic = next(topics)
    fleet = start_fleet(2, *LASTING)
    subscribers = fleet.subscribe(topic, 5)
    publishers = [Publisher(fleet.urls(topic), fleet.token, rate=400)]
    async with following(subscribers):
        async with publishing(*publishers):
            for _ in range(2):
                await accept_more(publishers[0], 300)
                fleet.redis.kill()
                await asyncio.sleep(1)
                fleet.redis.start()
            await accept_more(publishers[0], 300)
        account = await settle(publishers, subscribers)
    report(f"{account}, refused {dict(publishers[0].refused)}, repeated {publishers[0].repeated}")
    assert account.accepted >= 900
    assert account.is_whole
    assert all(subscriber.sessions == 1 for subscriber in subscribers)


def restart_empty(fleet: Fleet) -> None:
    fleet.redis.kill()
    fleet.redis.start()


def flush(fleet: Fleet) -> None:
    with redis_client.Redis(port=fleet.redis.port) as client:
        client.flushall()


def restore_snapshot(fleet: Fleet) -> None:
    fleet.redis.kill()
    (fleet.redis.folder / "old.rdb").rename(fleet.redis.folder / "dump.rdb")
    fleet.redis.start()


@pytest.mark.parametrize("lose", [restart_empty, flush, restore_snapshot])
async def test_a_past_that_is_lost_is_told_to_every_subscriber_and_publishing_goes_on(
    start_fleet: StartFleet,
    report: Report,
    lose: Callable[[Fleet], None],
) -> None:
    topic = next(topics)
    fleet = start_fleet(2)
    subscribers = fleet.subscribe(topic, 6)
    publisher = Publisher(fleet.urls(topic), fleet.token, rate=400)
    async with following(subscribers):
        async with publishing(publisher):
            await accept_more(publisher, 200)
            with redis_client.Redis(port=fleet.redis.port) as client:
                client.save()
            (fleet.redis.folder / "dump.rdb").rename(fleet.redis.folder / "old.rdb")
            await accept_more(publisher, 200)
            await asyncio.to_thread(lose, fleet)
            returned = time.monotonic()
            before = len(publisher.accepted)
            while not all(subscriber.gaps for subscriber in subscribers):
                assert time.monotonic() - returned < GAP_DEADLINE, "a subscriber was not told"
                await asyncio.sleep(0.02)
            await accept_more(
                publisher, before + publisher.in_flight + 100 - len(publisher.accepted)
            )
        after = set(publisher.accepted[before + publisher.in_flight :])
        deadline = time.monotonic() + TIMEOUT
        while not all(after <= set(subscriber.heard) for subscriber in subscribers):
            assert time.monotonic() < deadline, "what was published afterwards is missing"
            await asyncio.sleep(0.05)
    last = max(subscriber.gaps[0].time for subscriber in subscribers) - returned
    report(
        f"{lose.__name__}: 6 of 6 told after {last:.2f} s at most; {len(after)} heard afterwards"
    )
    for subscriber in subscribers:
        assert subscriber.faults == []
        assert {gap.reason for gap in subscriber.gaps} == {"history_lost"}


async def test_publishers_who_repeat_by_id_while_redis_is_stopped_make_one_copy_each(
    start_fleet: StartFleet, report: Report
) -> None:
    topic = next(topics)
    fleet = start_fleet(2)
    subscribers = fleet.subscribe(topic, 4)
    publishers = [
        Publisher([url], fleet.token, name=f"p{n}-", in_flight=16, rate=150)
        for n, url in enumerate(fleet.urls(topic))
    ]
    async with following(subscribers):
        async with publishing(*publishers):
            for publisher in publishers:
                await accept_more(publisher, 100)
            fleet.redis.signal(signal.SIGSTOP)
            async with asyncio.timeout(TIMEOUT):
                while not all(publisher.refused["unavailable"] for publisher in publishers):
                    await asyncio.sleep(0.1)
            await asyncio.sleep(1)  # they repeat what was refused
            fleet.redis.signal(signal.SIGCONT)
            for publisher in publishers:
                await accept_more(publisher, 100)
        account = await settle(publishers, subscribers)
    stored = Counter(read_history(fleet, topic))
    refused = sum((publisher.refused for publisher in publishers), Counter[str]())
    report(f"{account}, refused {dict(refused)}, {len(stored)} stored")
    assert refused["unavailable"]
    assert sum(publisher.repeated for publisher in publishers)
    assert set(stored) == {data for publisher in publishers for data in publisher.accepted}
    assert set(stored.values()) == {1}
    assert account.is_whole


async def test_sockets_stay_open_through_an_outage_and_health_says_what_is_wrong(
    start_fleet: StartFleet, report: Report
) -> None:
    """What was accepted before and after arrives; reads answer `unavailable` meanwhile."""
    topic = next(topics)
    fleet = start_fleet(2, *LASTING)
    here, there = fleet.urls(topic)
    subscribers = [Subscriber([there], fleet.token) for _ in range(2)]
    publisher = Publisher([here], fleet.token, rate=200)
    path = f"/api/topics/{topic}/publications/"
    async with (
        following(subscribers),
        httpx.AsyncClient(
            base_url=fleet.servers[1].http, headers=fleet.headers, timeout=TIMEOUT
        ) as http,
        open_client(f"{there}?subscribe=0", fleet.token) as client,
    ):
        async with publishing(publisher):
            await accept_more(publisher, 100)
            fleet.redis.kill()
            await asyncio.sleep(0.5)
            while (ready := await http.get("/readyz")).json()["status"] == "ok":
                await asyncio.sleep(0.1)  # a look that was under way when Redis was killed
            history = await http.get(path)
            refused = await http.post(path, json={"data": 1})
            await client.send({"type": "history", "ref": "h", "after": 0, "limit": 10})
            error = await client.receive_type("error")
            fleet.redis.start()
            returned = time.monotonic()
            heard = len(subscribers[0].heard)
            while len(subscribers[0].heard) <= heard:
                assert time.monotonic() - returned < GAP_DEADLINE, "nothing after the return"
                await asyncio.sleep(0.01)
            resumed = time.monotonic() - returned
            await asyncio.sleep(0.3)
        account = await settle([publisher], subscribers)
        again = await http.get("/readyz")
    report(f"{account}; the other instance heard again {resumed:.2f} s after the return")
    assert (ready.status_code, ready.json()["degraded"]) == (200, ["redis"])
    assert (again.status_code, again.json()["degraded"]) == (200, [])
    assert (error["ref"], error["code"]) == ("h", "unavailable")
    for response in (history, refused):
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert account.is_whole
    assert [subscriber.sessions for subscriber in subscribers] == [1, 1]


def read_history(fleet: Fleet, topic: str) -> list[Any]:
    """All that is retained, by REST, page by page."""
    found: list[Any] = []
    after = 0
    while True:
        page = httpx.get(
            f"{fleet.servers[0].http}/api/topics/{topic}/publications/",
            params={"after": after, "limit": 1000},
            headers=fleet.headers,
            timeout=TIMEOUT,
        ).json()
        assert page["complete"], page
        found += [publication["data"] for publication in page["publications"]]
        if not page["publications"] or page["publications"][-1]["offset"] >= page["top"]:
            return found
        after = page["publications"][-1]["offset"]
