"""Many sessions at once on `manage.py serve`: all of them ended, and those that do not read."""

import asyncio
import json
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

import psutil
from websockets.exceptions import ConnectionClosed

from tests.clients import Client, open_client
from tests.server.crowds import open_sleeper, read_rows
from tests.servers import Project, Server

CROWD = 500
SLEEPERS = 100
MIB = 1024 * 1024


async def test_sigterm_ends_five_hundred_sessions_under_load_by_name(
    make_project: Callable[..., Project], launch: Callable[..., Server]
) -> None:
    server = launch(make_project(), "serve")
    token = server.project.issue_token()
    async with AsyncExitStack() as stack:
        clients: list[Client] = []
        for start in range(0, CROWD, 50):
            opened = (
                stack.enter_async_context(
                    open_client(f"{server.ws}/ws/broadcast/crowd/", token, compression=None)
                )
                for _ in range(min(50, CROWD - start))
            )
            clients += await asyncio.gather(*opened)
        await asyncio.gather(*(client.receive_type("subscribed") for client in clients))

        async def publish_forever() -> None:
            number = 0
            while True:
                await clients[0].send({"type": "publish", "data": {"n": number}})
                number += 1
                await asyncio.sleep(0.02)

        publisher = asyncio.create_task(publish_forever())
        await asyncio.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        ends = await asyncio.gather(*(client.wait_closed() for client in clients))
        publisher.cancel()
        await asyncio.gather(publisher, return_exceptions=True)
        reasons = [client.connection.close_reason or "" for client in clients]
    assert Counter(code for code, _ in ends) == {1012: CROWD}
    assert all(reason.startswith("retry_after=") for reason in reasons)
    waits = [float(reason.removeprefix("retry_after=")) for reason in reasons]
    assert max(waits) - min(waits) > 1  # they are asked to come back spread out
    # Waited for, not stopped: a second signal would cut the end short.
    assert await asyncio.to_thread(server.process.wait, 90) == 0
    assert Counter(read_rows(server)) == {(1012, 1): CROWD}


async def test_a_hundred_that_do_not_read_are_ended_and_the_others_get_everything(
    make_project: Callable[..., Project], launch: Callable[..., Server]
) -> None:
    server = launch(
        make_project(REALTIME_MESSAGES_PER_SECOND="0", REALTIME_BYTES_PER_SECOND="0"), "serve"
    )
    token = server.project.issue_token()
    process = psutil.Process(server.process.pid)
    url = f"{server.ws}/ws/broadcast/crowd/"
    async with (
        open_client(url, token, max_queue=None) as reader,
        open_client(f"{url}?subscribe=0", token) as writer,
    ):
        await reader.receive_type("subscribed")
        sleepers = [
            await asyncio.to_thread(
                open_sleeper, server, "/ws/broadcast/crowd/", f"Authorization: Bearer {token}"
            )
            for _ in range(SLEEPERS)
        ]
        before = process.memory_info().rss
        began = time.monotonic()
        message = json.dumps({"type": "publish", "data": "x" * 4096})
        count = 6 * MIB // 4096

        async def publish() -> None:
            for _ in range(count):
                await writer.connection.send(message)

        async def read() -> list[int]:
            return [(await reader.receive_type("publication"))["offset"] for _ in range(count)]

        _, offsets = await asyncio.gather(publish(), read())
        assert offsets == list(range(1, count + 1))
        while server.read_log().count("a session is too slow") < SLEEPERS:
            assert time.monotonic() - began < 20, "the sleepers were not dealt with"
            await asyncio.sleep(0.1)
        grown = process.memory_info().rss - before
        assert grown < SLEEPERS * 1.25 * MIB
        for sleeper in sleepers:
            sleeper.close()
        while Counter(read_rows(server))[4000, 1] < SLEEPERS:
            assert time.monotonic() - began < 30, Counter(read_rows(server))
            await asyncio.sleep(0.1)
    print(f"{SLEEPERS} sleepers, memory grew by {grown / MIB:.1f} MiB")


async def test_a_session_that_is_too_old_is_asked_to_come_back(
    project: Project, token: str, launch: Callable[..., Server]
) -> None:
    server = launch(project.with_environment(REALTIME_MAX_SESSION_SECONDS="0.5"), "serve")
    async with open_client(f"{server.ws}/ws/broadcast/old/", token) as client:
        code, _ = await client.wait_closed()
        assert code == 1012
        assert (client.connection.close_reason or "").startswith("retry_after=")


async def test_more_connections_than_a_process_takes_are_told_when_to_try_again(
    project: Project, token: str, launch: Callable[..., Server]
) -> None:
    server = launch(project.with_environment(REALTIME_CONNECTIONS_PER_PROCESS="2"), "serve")
    url = f"{server.ws}/ws/broadcast/full/"
    async with open_client(url, token) as one, open_client(url, token) as two:
        await one.receive_type("subscribed")
        await two.receive_type("subscribed")
        async with open_client(url, token) as three:
            assert (await three.wait_closed())[0] == 1013
            reason = three.connection.close_reason or ""
            assert re.fullmatch(r"retry_after=\d+(\.\d+)?", reason)
    async with asyncio.timeout(30):  # the server may hear of their end after the clients
        while not await is_taken(url, token):
            await asyncio.sleep(0.05)


async def is_taken(url: str, token: str) -> bool:
    """Whether a new session is not told to try again."""
    async with open_client(url, token) as client:
        with suppress(ConnectionClosed):
            await client.receive_type("subscribed")
            return True
    assert client.connection.close_code == 1013
    return False
