"""More than a user may send, on a real server: refused, slowed down, and in the end closed."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.clients import Client, open_client
from tests.limits.conftest import issue_tokens
from tests.servers import Project, Server, start_server

RATE = 10_000
# A publication, and so what comes at once: four seconds' worth. What is refused for a debt has
# to come before that is paid, which takes as many seconds as a busy machine may need.
LONGEST = 40_000
USERS = ("anna", "boris", "cleo", "dora", "emil", "fay")

Tokens = dict[str, str]


@pytest.fixture(scope="module")
def slow(make_project: Callable[..., Project]) -> Iterator[Server]:
    """A server that takes 10 kB a second of each user, and chunks at most 1.5 s apart."""
    project = make_project(
        DJANGO_SETTINGS_MODULE="tests.stats_settings",
        REALTIME_BYTES_PER_SECOND=str(RATE),
        REALTIME_MAX_BINARY_BYTES=str(LONGEST),
        REALTIME_MAX_TEXT_BYTES=str(LONGEST),
        REALTIME_CHUNK_TIMEOUT="1.5",
    )
    server = start_server(project, "serve")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def tokens(slow: Server) -> Tokens:
    """A token of each user; one for each test, whose debts are its own."""
    return issue_tokens(slow.project, *USERS)


@asynccontextmanager
async def join(server: Server, token: str, path: str = "blobs/x/") -> AsyncIterator[Client]:
    async with open_client(f"{server.ws}/ws/{path}", token, open_timeout=30) as client:
        if path != "echo/":
            await client.receive_type("subscribed")
        yield client


def build_ping(size: int, ref: int = 1) -> str:
    """A ping of so many bytes: spaces belong to JSON too."""
    return f'{{"type": "ping", "ref": {ref}}}'.ljust(size)


async def test_what_is_over_the_limit_is_refused_and_the_session_lives(
    slow: Server, tokens: Tokens
) -> None:
    before = read_limited(slow)
    async with join(slow, tokens["anna"]) as client:
        for ref, size in enumerate((LONGEST, 30_000, 30)):
            await client.send(build_ping(size, ref))
        replies = [await client.receive() for _ in range(3)]
        assert [reply["type"] for reply in replies] == ["pong", "pong", "error"]
        assert replies[-1]["code"] == "rate_limited"
        assert replies[-1]["ref"] == 2
        assert replies[-1]["detail"] == f"at most {RATE} bytes a second"
    async with join(slow, tokens["anna"]) as client:  # coming back refills nothing
        types = [await ping(client)]
        while types[-1] == "error":
            await asyncio.sleep(0.2)
            types.append(await ping(client))
    assert types[0] == "error"
    assert types[-1] == "pong"
    bytes, messages = read_limited(slow)
    assert (bytes - before[0], messages - before[1]) == (types.count("error") + 1, 0)


async def ping(client: Client) -> str:
    """The type of the answer to a small ping."""
    await client.send(build_ping(30))
    type: str = (await client.receive())["type"]
    return type


def read_limited(server: Server) -> tuple[float, float]:
    """How often a limit of bytes and one of messages was exceeded."""
    bytes, messages = (
        server.read_metric("realtime_limited_total", limit=limit) for limit in ("bytes", "messages")
    )
    return bytes, messages


async def test_more_than_100_refusals_in_a_minute_end_the_session(
    slow: Server, tokens: Tokens
) -> None:
    async with join(slow, tokens["boris"]) as client:
        for _ in range(2):
            await client.send(build_ping(LONGEST))
        for _ in range(101):
            await client.send(build_ping(2))
        code, messages = await client.wait_closed()
    assert code == 4003
    assert [message["type"] for message in messages].count("error") == 101


async def test_a_publication_of_the_longest_kind_goes_at_once(slow: Server, tokens: Tokens) -> None:
    async with join(slow, tokens["cleo"]) as client:
        began = time.monotonic()
        await client.send(b"x" * LONGEST)
        assert await client.receive_type("binary")
        assert time.monotonic() - began < LONGEST / RATE


async def test_an_upload_waits_and_is_neither_torn_nor_blamed_for_the_wait(
    slow: Server, tokens: Tokens
) -> None:
    async with join(slow, tokens["dora"]) as client:
        began = time.monotonic()
        for size in (LONGEST, 30_000):  # a debt of three seconds, twice as long as a chunk has
            await client.send(b"x" * size)
        await client.send({"type": "binary", "chunks": 2, "ref": 1})
        await client.send(b"first ")
        await client.send(b"second")
        for _ in range(2):
            await client.receive_type("binary")
            await client.receive()
        assert await client.receive_type("binary")
        assert await client.receive() == b"first second"
        assert time.monotonic() - began > 2.9


async def test_an_echo_is_slowed_down(slow: Server, tokens: Tokens) -> None:
    async with join(slow, tokens["emil"], "echo/") as client:
        began = time.monotonic()
        for _ in range(6):
            await client.send(b"x" * 10_000)
        for _ in range(6):
            assert len(await client.receive()) == 10_000
        assert time.monotonic() - began > 0.9


async def test_requests_over_rest_take_from_the_same_allowance(
    slow: Server, tokens: Tokens
) -> None:
    headers = {"Authorization": f"Bearer {tokens['fay']}", "Content-Type": "text/plain"}
    url = f"{slow.http}/api/topics/blobs:rest/publications/"
    async with (
        join(slow, tokens["fay"]) as client,
        httpx.AsyncClient(headers=headers, timeout=30) as http,
    ):
        statuses = [(await http.post(url, content=b"x" * LONGEST)).status_code for _ in range(2)]
        assert statuses == [201, 201]
        assert await ping(client) == "error"
        refused = await http.post(url, content=b"x")
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert refused.headers["Retry-After"] == "1"
        assert (await http.get(url)).status_code == 429
