"""Live sessions over REST: who is connected to two instances, and ending one."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.api.test_publications import assert_refused, is_secure
from tests.clients import Client, open_client
from tests.servers import Project, RedisServer, Server, start_server

FIELDS = {
    *("id", "user", "topic", "address", "user_agent", "instance", "connected_at"),
    *("messages_in", "messages_out", "bytes_in", "bytes_out"),
    *("errors", "skipped", "waiting_bytes"),
}


@pytest.fixture(scope="module")
def instances(
    make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Server]]:
    """Two servers of one project."""
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    project = make_project(REDIS_URL=redis.url, REALTIME_COUNT_SECONDS="0.2")
    with ThreadPoolExecutor() as pool:
        servers = list(pool.map(lambda kind: start_server(project, kind), ("serve", "daphne")))
    yield servers
    for server in servers:
        server.stop()
    redis.kill()


@pytest.fixture(scope="module")
def root(instances: list[Server]) -> str:
    """The token of a superuser."""
    project = instances[0].project
    token = project.issue_token("root", "--staff")
    project.manage(
        "shell",
        "--verbosity",
        "0",
        "--command",
        "from accounts.models import User; User.objects.update(is_superuser=True)",
    )
    return token


@pytest.fixture(scope="module")
def staff(instances: list[Server], root: str) -> str:
    """The token of somebody who may look."""
    return instances[0].project.issue_token("stella", "--staff")


@pytest.fixture(scope="module")
def anna(instances: list[Server], root: str) -> str:
    return instances[0].project.issue_token("anna")


async def call(
    server: Server, token: str | None, path: str = "", *, method: str = "GET", **query: Any
) -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(timeout=30, verify=is_secure(server)) as http:
        return await http.request(
            method, f"{server.http}/api/sessions/{path}", headers=headers, params=query
        )


async def wait_for(
    server: Server, token: str, is_right: Callable[[dict[str, Any]], bool], **query: Any
) -> dict[str, Any]:
    """Ask until the answer is right: rows are written in batches."""
    deadline = time.monotonic() + 30
    while True:
        response = await call(server, token, **query)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        if is_right(body):
            return body
        assert time.monotonic() < deadline, body
        await asyncio.sleep(0.05)


@asynccontextmanager
async def open_session(server: Server, token: str, topic: str) -> AsyncIterator[tuple[Client, str]]:
    """A subscriber, and its session's id."""
    namespace, _, name = topic.partition(":")
    async with open_client(f"{server.ws}/ws/{namespace}/{name}/", token) as client:
        id = (await client.receive_type("hello"))["session"]
        await client.receive_type("subscribed")
        yield client, id


async def test_live_sessions_of_all_instances_are_listed_the_newest_first(
    instances: list[Server], staff: str, anna: str
) -> None:
    one, two = instances
    async with (
        open_session(one, anna, "broadcast:a") as (client, first),
        open_session(two, staff, "broadcast:a") as (_, second),
        open_session(two, anna, "stats:b") as (_, third),
    ):
        await client.send({"type": "publish", "ref": 1, "data": "x"})
        await client.send({"type": "nonsense"})
        body = await wait_for(
            two,
            staff,
            # hello, subscribed, publication, ack, error
            lambda body: body["count"] == 3 and body["results"][2]["messages_out"] >= 5,
        )
        rows = body["results"]
        assert [row["id"] for row in rows] == [third, second, first]
        assert all(row.keys() == FIELDS for row in rows)
        last = rows[2]
        assert (last["user"], last["topic"]) == ("anna", "broadcast:a")
        assert (last["address"], last["skipped"], last["waiting_bytes"]) == ("127.0.0.1", 0, 0)
        assert last["messages_in"] == 2
        assert last["errors"] == 1
        assert last["bytes_in"] > 0
        assert last["bytes_out"] > last["bytes_in"]
        assert last["connected_at"].endswith("Z")

        async def find(**query: Any) -> list[str]:
            body = (await call(one, staff, **query)).json()
            assert body["count"] >= len(body["results"])
            return [row["id"] for row in body["results"]]

        assert await find(user="anna") == [third, first]
        assert await find(topic="broadcast:a") == [second, first]
        assert await find(topic="broadcast:a", user="anna") == [first]
        assert await find(instance=last["instance"]) == [first]
        assert await find(address="127.0.0.1", limit=1, offset=1) == [second]
        assert await find(address="10.0.0.1") == []
    await wait_for(one, staff, lambda body: body == {"count": 0, "results": []})


async def test_a_session_ends_on_whatever_instance_it_is(
    instances: list[Server], root: str, anna: str
) -> None:
    one, two = instances
    async with (
        open_session(two, anna, "broadcast:a") as (client, id),
        open_session(two, anna, "broadcast:a") as (other, _),
    ):
        await wait_for(one, root, lambda body: body["count"] == 2)
        response = await call(one, root, f"{id}/", method="DELETE")
        assert (response.status_code, response.content) == (204, b"")
        assert (await client.wait_closed())[0] == 4002
        await other.receive_nothing()
        await wait_for(one, root, lambda body: body["count"] == 1)
        assert_refused(await call(one, root, f"{id}/", method="DELETE"), 404, "not_found")


@pytest.mark.parametrize("id", ["6f1ed002-ab5f-4e6b-a2a3-6f4b6fbb7a55", "x", "%00"])
async def test_an_unknown_or_malformed_id_is_not_found(
    instances: list[Server], root: str, id: str
) -> None:
    response = await call(instances[0], root, f"{id}/", method="DELETE")
    assert_refused(response, 404, "not_found")


async def test_only_the_staff_may_look_and_disconnect(
    instances: list[Server], staff: str, anna: str
) -> None:
    server, path = instances[0], f"{uuid.uuid4()}/"
    for method, where in (("GET", ""), ("DELETE", path)):
        refused = await call(server, None, where, method=method)
        assert_refused(refused, 401, "authentication_required")
        refused = await call(server, anna, where, method=method)
        assert_refused(refused, 403, "permission_denied")
    assert_refused(await call(server, staff, path, method="DELETE"), 404, "not_found")


@pytest.mark.parametrize("query", [{"limit": 0}, {"offset": "x"}, {"page": 2}])
async def test_a_malformed_query_is_refused(
    instances: list[Server], staff: str, query: dict[str, Any]
) -> None:
    assert_refused(await call(instances[0], staff, **query), 400, "invalid_parameter")
