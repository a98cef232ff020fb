"""More than a user may send, on a real server: refused, slowed down, and in the end closed."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.clients import Client, open_client
from tests.servers import Project, Server, start_server

RATE = 20_000
LONGEST = 40_000  # a publication, and so what comes at once


@pytest.fixture(scope="module")
def slow(make_project: Callable[..., Project]) -> Iterator[Server]:
    """A server that takes 20 kB a second of each user, and chunks that come a second apart."""
    project = make_project(
        DJANGO_SETTINGS_MODULE="tests.stats_settings",
        REALTIME_BYTES_PER_SECOND=str(RATE),
        REALTIME_MAX_BINARY_BYTES=str(LONGEST),
        REALTIME_MAX_TEXT_BYTES=str(LONGEST),
        REALTIME_CHUNK_TIMEOUT="1",
    )
    server = start_server(project, "serve")
    yield server
    server.stop()


@asynccontextmanager
async def join(server: Server, token: str, path: str = "blobs/x/") -> AsyncIterator[Client]:
    async with open_client(f"{server.ws}/ws/{path}", token) as client:
        if path != "echo/":
            await client.receive_type("subscribed")
        yield client


def build_ping(size: int, ref: int = 1) -> str:
    """A ping of so many bytes: spaces belong to JSON too."""
    return f'{{"type": "ping", "ref": {ref}}}'.ljust(size)


async def test_what_is_over_the_limit_is_refused_and_the_session_lives(slow: Server) -> None:
    token = slow.project.issue_token("anna")
    async with join(slow, token) as client:
        for ref in range(6):
            await client.send(build_ping(10_000, ref))
        replies = [await client.receive() for _ in range(6)]
        assert [reply["type"] for reply in replies] == ["pong"] * 5 + ["error"]
        assert replies[-1]["code"] == "rate_limited"
        assert replies[-1]["ref"] == 5
        assert replies[-1]["detail"] == f"at most {RATE} bytes a second"
    async with join(slow, token) as client:  # coming back refills nothing
        await client.send(build_ping(30))
        assert (await client.receive())["type"] == "error"
        await asyncio.sleep(0.55)
        await client.send(build_ping(30))
        assert (await client.receive())["type"] == "pong"
    assert slow.read_metric("realtime_limited_total", limit="bytes") == 2
    assert slow.read_metric("realtime_limited_total", limit="messages") == 0


async def test_more_than_100_refusals_in_a_minute_end_the_session(slow: Server) -> None:
    async with join(slow, slow.project.issue_token("boris")) as client:
        for _ in range(4):
            await client.send(build_ping(20_000))
        for _ in range(101):
            await client.send(build_ping(2))
        code, messages = await client.wait_closed()
    assert code == 4003
    assert [message["type"] for message in messages].count("error") == 101


async def test_a_publication_of_the_longest_kind_goes_at_once(slow: Server) -> None:
    async with join(slow, slow.project.issue_token("cleo")) as client:
        await client.send(b"x" * LONGEST)
        began = time.monotonic()
        assert await client.receive_type("binary")
        assert time.monotonic() - began < 1


async def test_an_upload_waits_and_is_neither_torn_nor_blamed_for_the_wait(slow: Server) -> None:
    async with join(slow, slow.project.issue_token("dora")) as client:
        for _ in range(2):
            await client.send(b"x" * LONGEST)  # a debt of two seconds, twice as long as a chunk has
        for _ in range(2):
            await client.receive_type("binary")
            await client.receive()
        began = time.monotonic()
        await client.send({"type": "binary", "chunks": 2, "ref": 1})
        await client.send(b"first ")
        await client.send(b"second")
        assert await client.receive_type("binary")
        assert await client.receive() == b"first second"
        assert time.monotonic() - began > 1.5


async def test_an_echo_is_slowed_down(slow: Server) -> None:
    async with join(slow, slow.project.issue_token("emil"), "echo/") as client:
        began = time.monotonic()
        for _ in range(8):
            await client.send(b"x" * 10_000)
        for _ in range(8):
            assert len(await client.receive()) == 10_000
        assert 0.9 < time.monotonic() - began < 5


async def test_requests_over_rest_take_from_the_same_allowance(slow: Server) -> None:
    token = slow.project.issue_token("fay")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "text/plain"}
    url = f"{slow.http}/api/topics/blobs:rest/publications/"
    async with httpx.AsyncClient(headers=headers) as http:
        statuses = [(await http.post(url, content=b"x" * 30_000)).status_code for _ in range(2)]
        assert statuses == [201, 201]
        refused = await http.post(url, content=b"x")
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert refused.headers["Retry-After"] == "1"
        assert (await http.get(url)).status_code == 429
    async with join(slow, token) as client:
        await client.send(build_ping(30))
        assert (await client.receive())["code"] == "rate_limited"
