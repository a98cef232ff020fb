"""The gate in a real server: what it holds in threads, and who gets through beside who does not."""

import asyncio
from collections import Counter
from collections.abc import Callable

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.server.processes import count_files, wait_until
from tests.servers import Project, Server

BAD = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
READERS = 200
THREADS = 8
# Besides those of requests: the loop's own, of probes, tokens, the resolver, the recorder.
OTHER_THREADS = 16
PATH = "/api/topics/broadcast:gate/publications/"


@pytest.fixture(params=["daphne", "serve", "uvicorn"])
def gated(
    request: pytest.FixtureRequest,
    launch: Callable[..., Server],
    make_project: Callable[..., Project],
) -> Server:
    return launch(
        make_project(
            REALTIME_REQUESTS_PER_SECOND="100000",
            REALTIME_BAD_TOKENS_PER_SECOND="1",
            REALTIME_REQUEST_WAIT_SECONDS="60",
        ),
        request.param,
    )


async def read_at_once(server: Server, token: str, count: int) -> "Counter[int]":
    limits = httpx.Limits(max_connections=count)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(timeout=120, limits=limits, headers=headers) as http:
        answers = await asyncio.gather(*(http.get(server.http + PATH) for _ in range(count)))
    return Counter(answer.status_code for answer in answers)


async def test_many_readers_at_once_are_all_answered_in_a_few_threads(gated: Server) -> None:
    token = await asyncio.to_thread(gated.project.issue_token)
    process = psutil.Process(gated.process.pid)
    assert await read_at_once(gated, token, 10) == {200: 10}
    before = count_files(gated)
    reading = asyncio.create_task(read_at_once(gated, token, READERS))
    threads = 0
    while not reading.done():
        threads = max(threads, process.num_threads())
        await asyncio.sleep(0.02)
    assert await reading == {200: READERS}
    assert threads <= THREADS + OTHER_THREADS
    # Each thread keeps its database: three files where that is SQLite.
    await asyncio.to_thread(wait_until, lambda: count_files(gated) <= before + 3 * THREADS + 8)


async def knock(server: Server, token: str) -> int:
    """The close code, or the status of HTTP; 0 where the session begins."""
    headers = {"Authorization": f"Bearer {token}"}
    try:
        url = f"{server.ws}/ws/broadcast/gate/"
        async with connect(url, additional_headers=headers, max_queue=None) as socket:
            first = await socket.recv()
            assert '"hello"' in str(first)
            return 0
    except InvalidStatus as error:
        return error.response.status_code
    except ConnectionClosed as error:
        return error.rcvd.code if error.rcvd else 1006


async def test_who_tries_tokens_is_refused_early_and_a_good_one_beside_gets_through(
    gated: Server,
) -> None:
    token = await asyncio.to_thread(gated.project.issue_token)
    codes = Counter[int]()
    for _ in range(2):  # what is looked at already when the first one is found to be no good counts
        codes += Counter(await asyncio.gather(*(knock(gated, BAD) for _ in range(30))))
    early = 403 if gated.kind == "daphne" else 429  # daphne has no other answer
    assert set(codes) == {4502, early}
    assert codes[early] > 10
    assert await knock(gated, token) == 0
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.get(gated.http + PATH, headers={"Authorization": f"Bearer {BAD}"})
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert int(answer.headers["retry-after"]) >= 1
        assert (await http.get(gated.http + "/")).status_code == 200  # who brings none is let in
    assert await read_at_once(gated, token, 1) == {200: 1}
    async with connect(f"{gated.ws}/ws/broadcast/gate/") as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()  # a token that comes later is not waited for now
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code in (1013, 3013)  # as daphne writes it
    counted = gated.read_metric("realtime_limited_total", limit="bad_tokens")
    assert counted >= codes[early]


async def test_bad_tokens_over_rest_are_refused_before_django_as_well(gated: Server) -> None:
    token = await asyncio.to_thread(gated.project.issue_token)
    answers = Counter[int]()
    for _ in range(6):
        answers += await read_at_once(gated, BAD, 10)
    assert set(answers) == {401, 429}
    assert answers[429] > 10
    assert await read_at_once(gated, token, 1) == {200: 1}
