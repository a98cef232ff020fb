"""What a message takes of the processor is measured and paid by whoever sent it."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from realtime.limits.work import Meter
from tests.clients import open_client
from tests.limits.conftest import issue_tokens
from tests.servers import Project, Server, start_server


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_a_meter_counts_the_steps_of_a_coroutine_and_not_what_others_do_meanwhile() -> None:
    async def work() -> str:
        spin(0.02)
        await asyncio.sleep(0.02)
        spin(0.02)
        return "done"

    async def disturb() -> None:
        await asyncio.sleep(0)
        spin(0.2)

    other = asyncio.create_task(disturb())
    meter = Meter(work())
    assert await meter == "done"
    await other
    assert 0.04 <= meter.seconds < 0.15


async def test_what_is_raised_and_what_is_thrown_in_passes_through_a_meter() -> None:
    async def fail() -> None:
        spin(0.01)
        raise ValueError("no")

    meter = Meter(fail())
    with pytest.raises(ValueError, match="no"):
        await meter
    assert meter.seconds >= 0.01
    seen = []

    async def wait() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return "never"

    async def run() -> str:
        return await Meter(wait())

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]

    async def catch() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return "in time"
        return "never"

    assert await Meter(catch()) == "in time"


# On a real server

OBJECTS = '{"data": [' + ", ".join(['{"a": 1}'] * 6000) + "]}"


@pytest.fixture(scope="module")
def server(make_project: Callable[..., Project]) -> Iterator[Server]:
    """A server on which a user has 20 messages a second: so a second of work costs 200."""
    server = start_server(make_project(REALTIME_MESSAGES_PER_SECOND="20"), "serve")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def tokens(server: Server) -> dict[str, str]:
    return issue_tokens(server.project, "anna", "boris", "cleo")


async def test_messages_that_take_long_to_read_use_up_what_a_user_may_send(
    server: Server, tokens: dict[str, str]
) -> None:
    url = f"{server.ws}/ws/broadcast/work/?subscribe=0"
    text = f'{{"type": "publish", "ref": 7, {OBJECTS[1:]}'
    async with open_client(url, tokens["anna"]) as client:
        await client.receive_type("hello")
        answers = []
        # As many plain messages fit: the rest is what reading them has cost.
        while "error" not in answers:
            await client.send(text)
            answer = await client.receive()
            assert answer["ref"] == 7
            answers.append(answer["type"])
        assert answer["code"] == "rate_limited"
        assert answers.count("ack") < 38
    async with open_client(url, tokens["boris"]) as client:  # others have theirs
        await client.receive_type("hello")
        for ref in range(30):
            await client.send({"type": "ping", "ref": ref})
            assert (await client.receive())["type"] == "pong"


async def test_bodies_over_rest_are_paid_likewise(server: Server, tokens: dict[str, str]) -> None:
    headers = {
        "Authorization": f"Bearer {tokens['cleo']}",
        "Content-Type": "application/json",
    }
    url = f"{server.http}/api/topics/broadcast:work/publications/"
    async with httpx.AsyncClient(headers=headers, timeout=30) as http:
        statuses = []
        began = time.monotonic()
        while 429 not in statuses:
            response = await http.post(url, content=OBJECTS)
            statuses.append(response.status_code)
        assert json.loads(response.text)["code"] == "rate_limited"
        plain = 40 + 20 * (time.monotonic() - began)  # requests that cost one message each
        assert statuses.count(201) < 0.9 * plain
        assert set(statuses) == {201, 429}
