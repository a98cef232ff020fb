"""Readers of the REST API, and tokens that are no good, beside another user's echo."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import psutil
import pytest

from tests.server import raw
from tests.server.processes import count_files
from tests.servers import Project, Server, start_server
from tests.soak.conftest import end_in_order
from tests.soak.pace import SCALE
from tests.victim import Victim

SECONDS = 20.0
READERS = 200
HANDSHAKES = 1500  # a second
BAD = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
PATH = "/api/topics/broadcast:soak/publications/"
# In seconds. It is promised on a machine of its own; others may share this one.
P99 = 0.050 * 2
MOST_THREADS = 24
MOST_FILES = 48  # that stay


@pytest.fixture
def server(make_project: Callable[..., Project]) -> Server:
    project = make_project(
        REALTIME_ECHO_POLICY="anyone",
        REALTIME_REQUESTS_PER_SECOND="200",
        REALTIME_BAD_TOKENS_PER_SECOND="20",
        LOG_LEVEL="WARNING",
    )
    return start_server(project, "serve")


def build_request(server: Server, token: str) -> bytes:
    return (
        f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    ).encode()


async def read_on(server: Server, token: str, end: float) -> "Counter[str]":
    """One request after another on one connection, as fast as answers come."""
    seen = Counter[str]()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    while time.monotonic() < end:
        writer.write(build_request(server, token))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        seen[head.split(b" ")[1].decode()] += 1
    writer.close()
    return seen


async def knock(server: Server, token: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(raw.build_request("/ws/broadcast/soak/", f"Authorization: Bearer {token}"))
        return (await reader.readline()).split(b" ")[1].decode()
    finally:
        writer.close()


async def knock_on(server: Server, token: str, end: float) -> "Counter[str]":
    """So many handshakes a second, of which a bounded number is under way."""
    seen, doors = Counter[str](), asyncio.Semaphore(200)

    async def one() -> None:
        async with doors:
            seen[await knock(server, token)] += 1

    began, started = time.monotonic(), 0
    async with asyncio.TaskGroup() as tasks:
        while (now := time.monotonic()) < end:
            while started < (now - began) * HANDSHAKES and not doors.locked():
                started += 1
                tasks.create_task(one())
                await asyncio.sleep(0)
            await asyncio.sleep(0.002)
    return seen


def watch(server: Server, attack: Callable[[float], "asyncio.Future[Counter[str]]"]) -> str:
    """Attack while the victim lives on; returns what became of it, in figures."""
    process = psutil.Process(server.process.pid)
    quiet = Victim(server)
    with quiet:
        time.sleep(3 * SCALE)
    peak = 0

    async def run() -> "Counter[str]":
        nonlocal peak
        attacking = asyncio.ensure_future(attack(time.monotonic() + SECONDS * SCALE))
        while not attacking.done():
            peak = max(peak, process.num_threads())
            await asyncio.sleep(0.1)
        return await attacking

    with Victim(server) as victim:
        seen = asyncio.run(run())
    time.sleep(1)
    files = count_files(server)
    ratio = victim.quantile(0.99) / quiet.quantile(0.99)
    assert peak <= MOST_THREADS
    assert files <= MOST_FILES
    assert victim.quantile(0.99) < P99
    return f"{dict(seen)}; {victim}, {ratio:.1f} times the quiet p99; {peak} threads, {files} files"


def test_two_hundred_readers_cost_others_little(
    server: Server, report: Callable[[str], None]
) -> None:
    token = server.project.issue_token()

    async def attack(end: float) -> "Counter[str]":
        parts = await asyncio.gather(*(read_on(server, token, end) for _ in range(READERS)))
        return sum(parts, Counter[str]())

    report(watch(server, attack))
    end_in_order(server)


@pytest.mark.parametrize("door", ["handshakes", "REST"])
def test_tokens_that_are_no_good_cost_others_little(
    server: Server, door: str, report: Callable[[str], None]
) -> None:
    async def attack(end: float) -> "Counter[str]":
        if door == "handshakes":
            return await knock_on(server, BAD, end)
        parts = await asyncio.gather(*(read_on(server, BAD, end) for _ in range(50)))
        return sum(parts, Counter[str]())

    report(watch(server, attack))
    end_in_order(server)
