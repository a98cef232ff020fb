"""Instances are killed and restarted, subscribers are stopped, while publishing goes on."""

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import redis as redis_client

from realtime.conf import build_settings
from realtime.core.entries import Entry, encode_entry
from realtime.core.topics import Topic
from realtime.history import Accepted, Batch, Item
from realtime.history.redis import RedisHistory
from tests.faults import long_settings
from tests.faults.conftest import PREFIX, Fleet, accept_more, following, publishing
from tests.faults.witnesses import TIMEOUT, Publisher, Subscriber, settle
from tests.server.processes import measure_memory
from tests.servers import ROOT, Server
from tests.topics import build_namespace

StartFleet = Callable[..., Fleet]
Report = Callable[[str], None]


async def test_300_clients_of_a_killed_instance_recover_on_the_others_with_a_handful_of_reads(
    start_fleet: StartFleet, report: Report
) -> None:
    topic = "broadcast:killed"
    fleet = start_fleet(3)
    dying, *living = fleet.urls(topic)
    subscribers = [
        Subscriber([dying, *(living if n % 2 else reversed(living))], fleet.token)
        for n in range(300)
    ]
    publisher = Publisher(living, fleet.token, rate=25)
    with redis_client.Redis(port=fleet.redis.port) as client:
        async with following(subscribers):
            async with publishing(publisher):
                await accept_more(publisher, 25)
                reads = count_reads(client)
                fleet.servers[0].stop(kill=True)
                await accept_more(publisher, 50)
            account = await settle([publisher], subscribers)
            reads = count_reads(client) - reads
    recovered = sum((subscriber.recovered for subscriber in subscribers), Counter[Any]())
    report(f"{account}, {recovered[True]} of 300 recovered, {reads} calls of history scripts")
    assert account.is_whole
    assert recovered[True] == 300
    assert {subscriber.sessions for subscriber in subscribers} == {2}


async def test_a_rolling_restart_tells_every_client_and_loses_nothing(
    start_fleet: StartFleet, report: Report
) -> None:
    topic = "broadcast:rolling"
    fleet = start_fleet(3)
    subscribers = fleet.subscribe(topic, 24)
    publishers = [
        Publisher(urls, fleet.token, name=f"p{n}-", rate=20)
        for n, urls in enumerate([fleet.urls(topic), fleet.urls(topic)[::-1]])
    ]
    async with following(subscribers):
        async with publishing(*publishers):
            await asyncio.sleep(0.5)
            for index, server in enumerate(tuple(fleet.servers)):
                assert await asyncio.to_thread(server.stop) == 0
                await asyncio.to_thread(fleet.restart, index)
                await asyncio.sleep(0.5)
        account = await settle(publishers, subscribers)
    closes = sum((subscriber.closes for subscriber in subscribers), Counter[int]())
    report(f"{account}, closes {dict(closes)}")
    assert account.is_whole
    assert all(subscriber.closes[1012] for subscriber in subscribers)
    assert set(closes) <= {1012, 0}  # 0: nobody was there yet


async def test_a_subscriber_that_was_stopped_misses_nothing_or_is_told(
    start_fleet: StartFleet, report: Report
) -> None:
    """SIGSTOP while more is published than its outbox takes, until that is seen; then it goes on,
    and comes back."""
    topic = "broadcast:stopped"
    fleet = start_fleet(1)
    (url,) = fleet.urls(topic)
    counted = count_slow(fleet.servers[0])
    witness = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.follow", url),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=16 * 1024 * 1024,
    )
    assert witness.stdin is not None
    witness.stdin.write(fleet.token.encode() + b"\n")
    heard: list[str] = []
    last: dict[str, Any] = {"is_live": False}

    async def listen() -> None:
        assert witness.stdout is not None
        async for line in witness.stdout:
            last.update(json.loads(line))
            heard.extend(last["heard"])

    listening = asyncio.create_task(listen())
    publisher = Publisher([url], fleet.token, rate=100, padding=32 * 1024)
    try:
        async with asyncio.timeout(3 * TIMEOUT):
            while not last["is_live"]:
                await asyncio.sleep(0.05)
            async with publishing(publisher):
                await accept_more(publisher, 100)
                witness.send_signal(signal.SIGSTOP)
                while count_slow(fleet.servers[0]) == counted:
                    await asyncio.sleep(0.05)
                witness.send_signal(signal.SIGCONT)  # five seconds later it would be cut
                await accept_more(publisher, 100)
            while len(heard) + count_lost(last) < len(publisher.accepted):
                await asyncio.sleep(0.05)
    finally:
        witness.kill()
        await witness.wait()
        await listening  # to the end of what it wrote
    missing, told = len(publisher.accepted) - len(heard), count_lost(last)
    report(
        f"{len(publisher.accepted)} accepted, {missing} missing, {told} told as lost, "
        f"closes {last['closes']}"
    )
    assert last["closes"].get("4000"), "it was never slow"
    assert last["faults"] == []
    assert len(set(heard)) == len(heard)
    assert missing == told


def count_lost(told: dict[str, Any]) -> int:
    """How many publications a witness was told of as lost."""
    return sum(next - after - 1 for after, next, _ in told.get("gaps", ()))


def count_slow(server: Server) -> int:
    """How often a session was too slow for a server, by its log."""
    return server.read_log().count("a session is too slow")


async def test_a_replay_of_100_000_to_a_slow_client_never_holds_more_than_its_outbox(
    start_fleet: StartFleet, report: Report
) -> None:
    """Pages are read as the client takes them; the server's memory does not notice."""
    fleet = start_fleet(1)
    (url,) = fleet.urls("long:replay")
    count = 100_000
    await store_publications(fleet, Topic("long", "replay"), count)
    server = fleet.servers[0]
    slow = Subscriber([url], fleet.token, query=f"?history={count}", pause=0.005)
    before = most = measure_memory(server)
    began = time.monotonic()
    task = asyncio.create_task(slow.follow())
    while len(slow.heard) < count and time.monotonic() - began < 4 * TIMEOUT:
        most = max(most, measure_memory(server))
        await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    report(
        f"{len(slow.heard)} replayed in {time.monotonic() - began:.1f} s, "
        f"the server grew by {most - before:.1f} MiB"
    )
    assert slow.heard == list(range(1, count + 1))
    assert (slow.faults, slow.gaps, slow.sessions) == ([], [], 1)
    # An outbox (1 MiB), what the process keeps of the topic (1 MiB), pages under way.
    assert most - before < 16


async def store_publications(fleet: Fleet, topic: Topic, count: int) -> None:
    """Put the numbers 1, 2, … into the history, as an instance would."""
    history = RedisHistory(
        build_settings({"REDIS_URL": fleet.redis.url, "PREFIX": PREFIX, "HISTORY_TIMEOUT": TIMEOUT})
    )
    namespace = build_namespace(**long_settings.LONG)
    for first in range(1, count + 1, 1000):
        bodies = [
            encode_entry(Entry("json", "anna", 0, b"%d" % number))
            for number in range(first, first + 1000)
        ]
        batch = Batch(topic, namespace, [Item(body) for body in bodies])
        (result,) = await history.append([batch])
        assert isinstance(result, Accepted)
    await history.close()


def count_reads(client: Any) -> int:
    """How often pages were read so far, at most: a page takes one call for each 16 entries."""
    return int(client.info("commandstats").get("cmdstat_xrange", {}).get("calls", 0))
