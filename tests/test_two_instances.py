"""Two daphne processes, one Redis, one database: what happens on one is seen on the other."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest

from tests.clients import Client, open_client, save_array
from tests.servers import Project, RedisServer, Server, start_server

PASSWORD = "a long enough password for tests"


@dataclass
class Pair:
    """The two servers, what they share, and access tokens of `anna` and `bert`."""

    one: Server
    two: Server
    redis: RedisServer
    project: Project
    token: str
    other_token: str


def start_pair(project: Project) -> tuple[Server, Server]:
    with ThreadPoolExecutor() as pool:
        one, two = pool.map(start_server, [project, project])
    return one, two


@pytest.fixture(scope="module")
def pair(
    make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    project = make_project(REDIS_URL=redis.url, DJANGO_SETTINGS_MODULE="tests.project_settings")
    output = project.manage(
        "shell",
        *("-v", "0", "-c"),
        "from accounts.models import User\n"
        "from django.core.management import call_command\n"
        f"User.objects.create_superuser('root', password='{PASSWORD}')\n"
        f"User.objects.create_user('carla', password='{PASSWORD}')\n"
        "for name in ('anna', 'bert'):\n"
        "    call_command('issue_token', name, '--create')\n",
    )
    one, two = start_pair(project)
    yield Pair(one, two, redis, project, *output.split())
    one.stop(kill=True)
    two.stop(kill=True)
    redis.kill()


@asynccontextmanager
async def join(server: Server, path: str, token: str) -> Any:
    """A client that was welcomed; what it was told stands in `client.welcome`."""
    async with open_client(f"{server.ws}/ws/{path}", token) as client:
        client.session = (await client.receive_type("hello"))["session"]  # type: ignore[attr-defined]
        if "subscribe=0" not in path:
            client.welcome = await client.receive_type("subscribed")  # type: ignore[attr-defined]
        yield client


async def publish(client: Client, data: Any, **options: Any) -> dict[str, Any]:
    """Publish and wait for the ack; other messages before it are passed over."""
    await client.send({"type": "publish", "data": data, "ref": "p", **options})
    return await client.receive_type("ack")


async def test_a_broadcast_arrives_on_the_other_in_order_and_once(pair: Pair) -> None:
    path = "broadcast/crossing/"
    async with join(pair.one, path, pair.token) as one, join(pair.two, path, pair.token) as two:
        for number in range(20):
            await one.send({"type": "publish", "data": {"n": number}})
        for client in (one, two):
            got = [await client.receive() for _ in range(20)]
            assert [(m["offset"], m["data"]["n"]) for m in got] == [(n + 1, n) for n in range(20)]
            assert {m["user"] for m in got} == {"anna"}
        await two.receive_nothing(0.2)


async def test_an_array_arrives_on_the_other_as_it_was(pair: Pair) -> None:
    array = np.random.default_rng(0).normal(size=(200, 300))  # 480 kB: it crosses by its offset
    path = "arrays/crossing/"
    async with join(pair.one, path, pair.token) as one, join(pair.two, path, pair.token) as two:
        await one.send(save_array(array))
        await one.send(save_array(array[:2, :2]))
        for client in (one, two):
            for offset, expected in [(1, array), (2, array[:2, :2])]:
                header, got = await client.receive_array()
                assert header["offset"] == offset
                np.testing.assert_array_equal(got, expected)
        await two.receive_nothing(0.2)


async def test_a_long_json_body_crosses(pair: Pair) -> None:
    path = "broadcast/long/"
    text = "x" * 300_000
    async with join(pair.one, path, pair.token) as one, join(pair.two, path, pair.token) as two:
        response = await asyncio.to_thread(
            httpx.post,
            f"{pair.one.http}/api/topics/broadcast:long/publications/",
            json={"data": text},
            headers={"Authorization": f"Bearer {pair.token}"},
            timeout=30,
        )
        assert response.status_code == 201, response.text
        await publish(one, "short")
        for client in (two,):
            assert [(await client.receive())["data"] for _ in range(2)] == [text, "short"]


async def test_statistics_are_identical_on_both(pair: Pair) -> None:
    path = "stats/crossing/?window=10&fields=sum,median,p90,rate"
    async with join(pair.one, path, pair.token) as one, join(pair.two, path, pair.token) as two:
        for number in range(30):
            await (one if number % 2 else two).send(
                {"value": number * 1.1, "timestamp": 1e9 + number}
            )
        last = []
        for client in (one, two):
            message = await client.receive_type("stats")
            while message["offset"] < 30:
                message = await client.receive_type("stats")
            last.append(message)
        assert last[0].pop("skipped", 0) == 0
        last[1].pop("skipped", 0)
        assert last[0] == last[1]
        assert last[0]["count"] == 10
    async with join(pair.two, path, pair.token) as late:
        message = await late.receive_type("stats")
        assert {**message, "skipped": 0} == {**last[0], "skipped": 0}


async def test_publishers_on_both_at_once_give_one_order_to_everybody(pair: Pair) -> None:
    path = "broadcast/race/"
    each = 250
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(join(server, path, pair.token))
            for server in (pair.one, pair.two, pair.one, pair.two)
        ]

        async def shout(client: Client, name: str) -> None:
            for number in range(each):
                await client.send({"type": "publish", "data": [name, number]})

        async def listen(client: Client) -> list[tuple[int, Any]]:
            got = [await client.receive() for _ in range(2 * each)]
            return [(m["offset"], m["data"]) for m in got]

        _, _, *heard = await asyncio.gather(
            shout(clients[0], "one"), shout(clients[1], "two"), *map(listen, clients)
        )
        assert [offset for offset, _ in heard[0]] == list(range(1, 2 * each + 1))
        assert all(other == heard[0] for other in heard)
        for name in ("one", "two"):  # each publisher's own order is kept
            own = [data[1] for _, data in heard[0] if data[0] == name]
            assert own == list(range(each))


async def test_a_third_process_publishes_too(pair: Pair) -> None:
    path = "broadcast/third/"
    code = (
        "from realtime import publish\n"
        "for n in range(3):\n"
        "    position = publish('broadcast:third', {'n': n})\n"
        "print(position.offset)\n"
    )
    async with join(pair.one, path, pair.token) as one, join(pair.two, path, pair.token) as two:
        output = await asyncio.to_thread(pair.project.manage, "shell", "-v", "0", "-c", code)
        assert output.strip() == "3"
        for client in (one, two):
            got = [await client.receive() for _ in range(3)]
            assert [(m["offset"], m["data"]["n"], m["user"]) for m in got] == [
                (n + 1, n, None) for n in range(3)
            ]


async def test_a_session_recovers_on_the_other_instance(pair: Pair) -> None:
    path = "broadcast/recovery/"
    async with join(pair.one, path, pair.token) as one:
        for number in range(10):
            last = await publish(one, number)
        assert last["offset"] == 10
    recovery = f"{path}?epoch={last['epoch']}&offset=4"
    async with join(pair.two, recovery, pair.token) as two:
        assert two.welcome["recovered"] is True
        assert (two.welcome["offset"], two.welcome["next"]) == (10, 5)
        assert [(await two.receive())["data"] for _ in range(6)] == list(range(4, 10))


async def test_an_id_is_published_once_whichever_instance_it_comes_to(pair: Pair) -> None:
    path = "broadcast/ids/"
    async with join(pair.one, path, pair.token) as one, join(pair.two, path, pair.token) as two:
        first = await publish(one, "a", id="x")
        again = await publish(two, "b", id="x")
        assert (first["duplicate"], again["duplicate"]) == (False, True)
        assert (again["offset"], again["epoch"]) == (first["offset"], first["epoch"])
        async with join(pair.two, path, pair.other_token) as other:
            assert (await publish(other, "c", id="x"))["duplicate"] is False


async def test_a_namespace_without_history_crosses_too(pair: Pair) -> None:
    path = "fleeting/crossing/"
    async with join(pair.one, path, pair.token) as one, join(pair.two, path, pair.token) as two:
        assert (two.welcome["epoch"], two.welcome["next"]) == (None, None)
        for number in range(5):
            await one.send({"type": "publish", "data": number})
        for client in (one, two):
            got = [await client.receive() for _ in range(5)]
            assert [(m["offset"], m["data"]) for m in got] == [(None, n) for n in range(5)]
        await two.receive_nothing(0.2)


def sign_in_to_admin(browser: httpx.Client) -> None:
    """Get the cookies that Django's admin wants."""
    page = browser.get("/admin/login/")
    answer = browser.post(
        "/admin/login/?next=/admin/",
        data={
            "username": "root",
            "password": PASSWORD,
            "csrfmiddlewaretoken": find_csrf_token(page.text),
        },
    )
    assert "Log out" in answer.text


def find_csrf_token(page: str) -> str:
    match = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert match is not None
    return match[1]


def disconnect_in_admin(server: Server, *sessions: str) -> str:
    """Choose the sessions in the list and run the action; the page that comes back."""
    with httpx.Client(base_url=server.http, follow_redirects=True, timeout=30) as browser:
        sign_in_to_admin(browser)
        address = "/admin/realtime/session/"
        deadline = time.monotonic() + 30
        page = browser.get(address).text
        while any(session not in page for session in sessions):  # rows are written in batches
            assert time.monotonic() < deadline
            time.sleep(0.05)
            page = browser.get(address).text
        answer = browser.post(
            address,
            data={
                "action": "disconnect_sessions",
                "_selected_action": list(sessions),
                "csrfmiddlewaretoken": find_csrf_token(page),
            },
        )
        return answer.text


async def test_the_admin_action_on_one_ends_sessions_on_the_other(pair: Pair) -> None:
    url = f"{pair.two.ws}/ws/broadcast/admin/"
    async with (
        open_client(url, pair.token) as chosen,
        open_client(url, pair.token) as kept,
        open_client(f"{pair.one.ws}/ws/broadcast/admin/", pair.token) as local,
    ):
        ids = [(await client.receive())["session"] for client in (chosen, local)]
        await kept.receive_type("subscribed")
        page = await asyncio.to_thread(disconnect_in_admin, pair.one, *ids)
        assert "2 sessions were told to disconnect" in page
        for client in (chosen, local):
            code, _ = await client.wait_closed()
            assert code == 4002
        await kept.receive_nothing(0.2)


async def test_signing_out_on_one_ends_the_sign_in_s_sessions_on_the_other(pair: Pair) -> None:
    def obtain(server: Server) -> dict[str, str]:
        answer = httpx.post(
            f"{server.http}/api/token/",
            json={"username": "carla", "password": PASSWORD},
            timeout=30,
        )
        return answer.raise_for_status().json()  # type: ignore[no-any-return]

    ended, other = await asyncio.to_thread(lambda: [obtain(pair.one), obtain(pair.one)])
    path = "broadcast/revocation/"
    async with (
        join(pair.two, path, ended["access"]) as two,
        join(pair.two, path, other["access"]) as kept,
        open_client(f"{pair.two.ws}/ws/echo/", ended["access"]) as echo,
    ):
        await echo.send("hello")
        await echo.connection.recv()
        answer = await asyncio.to_thread(
            httpx.post,
            f"{pair.one.http}/api/token/revoke/",
            json={"refresh": ended["refresh"]},
            timeout=30,
        )
        assert answer.status_code == 204
        for client in (two, echo):
            assert (await client.wait_closed())[0] == 4505
        await kept.receive_nothing(0.2)


async def wait_ready(server: Server, *, degraded: list[str]) -> None:
    """Until it says that it is ready, without these."""
    async with asyncio.timeout(30):
        while True:
            answer = await asyncio.to_thread(httpx.get, f"{server.http}/readyz", timeout=30)
            if (answer.status_code, answer.json()["degraded"]) == (200, degraded):
                return
            await asyncio.sleep(0.05)


async def publish_until_it_crosses(sender: Client, receiver: Client, data: str) -> None:
    """Where no history heals it, what is published before the layer is back is lost."""
    async with asyncio.timeout(30):
        while True:
            await sender.send({"type": "publish", "data": data})
            try:
                message = await receiver.receive_type("publication", 0.3)
            except TimeoutError:
                continue
            if message["data"] == data:  # its own come, too
                return


async def test_sockets_outlive_redis_and_work_again_when_it_is_back(pair: Pair) -> None:
    """The last test of this file: afterwards every topic has a new epoch."""
    path = "broadcast/outage/"
    quiet = f"{path}?subscribe=0"
    async with (
        join(pair.one, path, pair.token) as one,
        join(pair.two, path, pair.token) as two,
        join(pair.one, "fleeting/outage/", pair.token) as fleeting_one,
        join(pair.two, "fleeting/outage/", pair.token) as fleeting_two,
        join(pair.one, quiet, pair.token) as writer_one,
        join(pair.two, quiet, pair.token) as writer_two,
    ):
        before = await publish(writer_one, "before")
        for client in (one, two):
            assert (await client.receive())["data"] == "before"
        await wait_ready(pair.one, degraded=[])

        pair.redis.kill()
        for client in (one, two, writer_one):
            await client.send({"type": "publish", "data": "lost", "ref": "during"})
            error = await client.receive()
            assert (error["code"], error["ref"]) == ("unavailable", "during")
            assert "same id" in error["detail"]
        for server in (pair.one, pair.two):
            await wait_ready(server, degraded=["redis"])
        async with open_client(f"{pair.one.ws}/ws/broadcast/newcomer/", pair.token) as newcomer:
            code, messages = await newcomer.wait_closed()
            assert (code, messages) == (1013, [])
            received = newcomer.connection.close_reason or ""
            assert newcomer.connection.close_code == 3013
            assert received == "" or re.fullmatch(r"retry_after=\d+(\.\d+)?", received)
        await one.send({"type": "ping", "ref": 1})
        assert (await one.receive())["type"] == "pong"

        pair.redis.start()
        after = await publish(writer_one, "after")
        assert after["epoch"] != before["epoch"]
        await publish(writer_two, "and more")
        for client in (one, two):
            got = [await client.receive() for _ in range(3)]
            assert [m["type"] for m in got] == ["gap", "publication", "publication"]
            assert (got[0]["reason"], got[0]["epoch"]) == ("history_lost", after["epoch"])
            assert (got[0]["after"], got[0]["next"]) == (1, 1)
            assert [(m["offset"], m["data"]) for m in got[1:]] == [(1, "after"), (2, "and more")]
        async with join(pair.two, "broadcast/newcomer/", pair.token) as newcomer:
            await publish(newcomer, "hello")
        # What is carried by the layer alone crosses again too, as soon as it has reconnected.
        await publish_until_it_crosses(fleeting_one, fleeting_two, "one")
        await publish_until_it_crosses(fleeting_two, fleeting_one, "two")
        page = await asyncio.to_thread(disconnect_in_admin, pair.two, one.session)
        assert "1 session was told to disconnect" in page
        assert (await one.wait_closed())[0] == 4002
        await wait_ready(pair.one, degraded=[])
