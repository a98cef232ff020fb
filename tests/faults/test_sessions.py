"""Instances and the database fail: the list of live sessions stays true, and no socket is lost."""

import asyncio
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from realtime.tracking.recorder import BATCH_DELAY
from tests.clients import open_client
from tests.faults.conftest import Fleet, following, publishing
from tests.faults.crowds import crowd, list_live
from tests.faults.database import (
    count_commits,
    count_lease_writes,
    locked,
    read_rows,
    wait_for_counts,
    wait_for_rows,
    wait_until_closed,
)
from tests.faults.witnesses import Publisher, settle
from tests.servers import Project, RedisServer, start_server

StartFleet = Callable[..., Fleet]
Report = Callable[[str], None]
PASSWORD = "a long enough password for tests"
LEASE, SHORT_LEASE, RENEWAL = 15.0, 3.0, 1.0
BUSY_SECONDS = 5.0  # how long a request waits for the lock of the database


@pytest.fixture(scope="session")
def staff(whole_fleet: Fleet) -> dict[str, str]:
    """The headers of `root`, who may look at the live list."""
    token = whole_fleet.project.manage(
        *("shell", "-v", "0", "-c"),
        "from accounts.models import User\nfrom accounts.tokens import issue_access_token\n"
        f"root = User.objects.create_superuser('root', password='{PASSWORD}')\n"
        "print(issue_access_token(user=root))\n",
    )
    return {"Authorization": f"Bearer {token.strip()}"}


@pytest.fixture
def four(start_fleet: StartFleet) -> Iterator[Fleet]:
    """The fleet with a fourth instance."""
    fleet = start_fleet(3)
    servers = [*fleet.servers, start_server(fleet.project, "serve")]
    yield replace(fleet, servers=servers, count=4)
    servers[-1].stop(kill=True)


async def test_300_sessions_of_four_instances_cost_a_lease_write_a_second_and_few_transactions(
    four: Fleet, report: Report
) -> None:
    database, topic = four.project.folder / "db.sqlite3", "broadcast:cheap"
    watched = 5.0
    async with count_commits(database) as commits:
        began = time.monotonic()
        async with crowd(four.servers, topic, four.token, 300):
            await wait_for_rows(database, topic, 300)
            connecting, seconds = commits[0], time.monotonic() - began
            writes = await count_lease_writes(database, seconds=watched)
        await wait_for_rows(database, topic, 0)
    report(
        f"300 connects in {connecting} transactions and {seconds:.1f} s, "
        f"{writes} lease writes in {watched:g} s"
    )
    # On a slow machine they come slowly: then each instance writes what came every 50 ms.
    assert connecting < max(60, 4 * seconds / BATCH_DELAY)
    assert 2 <= writes <= 2 * 4  # each instance's every 5 s: one, or one at either end


async def test_sessions_of_a_killed_instance_leave_the_list_with_its_lease_and_no_others_do(
    start_fleet: StartFleet, staff: dict[str, str], report: Report
) -> None:
    fleet, topic = start_fleet(3), "broadcast:ghosts"
    database = fleet.project.folder / "db.sqlite3"
    *living, doomed = fleet.servers
    looks, gone = 0, 0.0
    async with (
        crowd(living, topic, fleet.token, 40) as kept,
        crowd([doomed], topic, fleet.token, 20) as lost,
    ):
        await wait_for_rows(database, topic, len(kept) + len(lost))
        assert set(await list_live(living[0], topic, staff)) == {*kept, *lost}
        doomed.stop(kill=True)
        killed = time.monotonic()
        while (elapsed := time.monotonic() - killed) < (gone + 3 if gone else 2 * LEASE + 15):
            live = set(await list_live(living[looks % 2], topic, staff))
            looks += 1
            assert kept.keys() <= live, f"{len(kept.keys() - live)} missing after {elapsed:.1f} s"
            assert not gone or not live & lost.keys(), "they are back"
            if not live & lost.keys():
                gone = gone or elapsed
            await asyncio.sleep(0.4)
        assert live == set(kept)
    await wait_until_closed(database, topic, lost)
    report(f"{len(lost)} ghosts left after {gone:.1f} s, none of {len(kept)} missing {looks} times")
    assert 0 < gone < 2 * LEASE
    assert looks > 5


async def test_a_locked_database_ends_no_session_and_the_list_is_true_soon_after(
    start_fleet: StartFleet, staff: dict[str, str], report: Report
) -> None:
    fleet, topic = start_fleet(3), "broadcast:locked"
    database = fleet.project.folder / "db.sqlite3"
    subscribers, publisher = fleet.subscribe(topic, 6), Publisher(fleet.urls(topic), fleet.token)
    publisher.rate = 50
    credentials = {"username": "root", "password": PASSWORD}
    pair = (await post(fleet, "", credentials))[2]
    questions = {
        "sign-in": ("", credentials, 503),
        "wrong password": ("", {**credentials, "password": "wrong"}, 401),
        "refresh": ("refresh/", {"refresh": pair["refresh"]}, 503),
        "sign-out": ("revoke/", {"refresh": pair["refresh"]}, 503),
        "verify": ("verify/", {"token": pair["access"]}, 200),
    }
    passing: list[str] = []
    slowest = 0.0
    async with (
        crowd(fleet.servers, topic, fleet.token, 30) as kept,
        following(subscribers),
        publishing(publisher),
    ):
        with locked(database):
            asked = asyncio.gather(
                *(post(fleet, path, body) for path, body, _ in questions.values())
            )
            until = time.monotonic() + 1.5 * BUSY_SECONDS  # writing was given up, too
            while (began := time.monotonic()) < until or not asked.done():
                passing.append(await come_and_go(fleet, topic, len(passing)))
                slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.2)
        unlocked = time.monotonic()
        while not is_true(await list_live(fleet.servers[0], topic, staff), kept, passing):
            assert time.monotonic() - unlocked < 20
            await asyncio.sleep(0.2)
        true_after = time.monotonic() - unlocked
        rows = await wait_for_counts(database, topic, passing)
        answers = {
            what: (status, f"{seconds:.1f} s")
            for what, (status, seconds, _) in zip(questions, await asked, strict=True)
        }
    account = await settle([publisher], subscribers)
    report(
        f"{account}, {len(passing)} came and went, in {slowest:.2f} s at most, "
        f"list true {true_after:.1f} s after; {answers}"
    )
    assert slowest < BUSY_SECONDS  # nobody waited for the lock
    assert account.is_whole
    assert not any(subscriber.closes for subscriber in subscribers)
    assert {rows[session]["close_code"] for session in passing} == {1000}
    for (_, _, wanted), (status, seconds, _) in zip(
        questions.values(), asked.result(), strict=True
    ):
        assert (status, seconds < 4 * BUSY_SECONDS) == (wanted, True), answers
    assert (await post(fleet, "refresh/", {"refresh": pair["refresh"]}))[0] == 200


async def test_an_instance_that_slept_past_its_lease_has_lost_no_socket_and_is_listed_again(
    make_project: Callable[..., Project], tmp_path: Path, report: Report
) -> None:
    redis = RedisServer(tmp_path)
    redis.start()
    project = make_project(
        REDIS_URL=redis.url,
        REALTIME_MESSAGES_PER_SECOND="0",
        REALTIME_LEASE_SECONDS=str(SHORT_LEASE),
        REALTIME_LEASE_RENEWAL_SECONDS=str(RENEWAL),
    )
    token = project.issue_token()
    with ThreadPoolExecutor() as pool:
        servers = list(pool.map(start_server, [project] * 2, ["serve"] * 2))
    fleet, topic = Fleet(servers, redis, project, token, count=2), "broadcast:asleep"
    try:
        await sleep_past_the_lease(fleet, topic, report)
    finally:
        servers[0].process.send_signal(signal.SIGCONT)
        for server in servers:
            server.stop(kill=True)
        redis.kill()


async def sleep_past_the_lease(fleet: Fleet, topic: str, report: Report) -> None:
    sleeper = fleet.servers[0]
    database = fleet.project.folder / "db.sqlite3"
    subscribers = fleet.subscribe(topic, 10)
    publishers = [
        Publisher([url], fleet.token, name=f"p{number}-", rate=50)
        for number, url in enumerate(fleet.urls(topic))
    ]
    async with (
        crowd([sleeper], topic, fleet.token, 20) as sessions,
        following(subscribers),
        publishing(*publishers),
    ):
        await wait_for_rows(database, topic, 20 + 10 + 2)
        before = read_rows(database, topic)
        sleeper.process.send_signal(signal.SIGSTOP)
        leaving = list(sessions)[:5]
        for session in leaving:
            sessions[session].connection.transport.abort()
        await wait_until_closed(database, topic, sessions)
        sleeper.process.send_signal(signal.SIGCONT)
        woken = time.monotonic()
        await wait_for_rows(database, topic, 15 + 10 + 2)
        back = time.monotonic() - woken
        await asyncio.sleep(RENEWAL)  # and it stays so
        after = read_rows(database, topic)
        for session in sessions.keys() - set(leaving):
            await sessions[session].send({"type": "ping", "ref": "awake"})
            await sessions[session].receive_type("pong")
    account = await settle(publishers, subscribers)
    report(
        f"{account}, {len(sessions)} rows were swept, all live ones were back after {back:.1f} s"
    )
    assert account.is_whole
    assert not any(subscriber.closes for subscriber in subscribers)
    for session in sessions:
        row = after[session]
        assert (row["closed_at"] is not None) == (session in leaving), row
        if session not in leaving:
            assert row["epoch"] > before[session]["epoch"]
    assert {after[session]["close_code"] for session in leaving} == {1006}


def is_true(live: Mapping[str, str], kept: Collection[str], gone: Collection[str]) -> bool:
    """Whether those who are there are listed, and those who have left are not."""
    return set(kept) <= set(live) and not set(gone) & set(live)


async def come_and_go(fleet: Fleet, topic: str, number: int) -> str:
    """Connect, publish, leave; returns the session's id."""
    url = fleet.urls(topic)[number % fleet.count]
    async with open_client(url, fleet.token) as client:
        session: str = (await client.receive_type("hello"))["session"]
        await client.send({"type": "publish", "data": f"passing {number}", "ref": 1})
        async with asyncio.timeout(60):  # in all: publications of others keep coming
            await client.receive_type("ack")
    return session


async def post(fleet: Fleet, path: str, body: dict[str, str]) -> tuple[int, float, dict[str, str]]:
    """Ask a token endpoint; returns the status, the seconds that it took, and the answer."""
    began = time.monotonic()
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"{fleet.servers[0].http}/api/token/{path}", json=body)
    fields: dict[str, str] = answer.json() if answer.content else {}
    if answer.status_code == 503:
        assert fields["code"] == "unavailable"
        assert answer.headers["retry-after"].isdigit()
    return answer.status_code, time.monotonic() - began, fields
