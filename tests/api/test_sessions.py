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


def permit(project: Project, username: str, *codenames: str) -> str:
    """The token of a user, who is no staff, with these permissions of `realtime`."""
    token = project.issue_token(username)
    code = (
        "from django.contrib.auth.models import Permission as P; from accounts.models import User;"
        f"some = P.objects.filter(content_type__app_label='realtime', codename__in={codenames!r});"
        f"User.objects.get(username={username!r}).user_permissions.set(some)"
    )
    project.manage("shell", "--verbosity", "0", "--command", code)
    return token


@pytest.fixture(scope="module")
def staff(instances: list[Server], root: str) -> str:
    """The token of somebody who may look."""
    return permit(instances[0].project, "stella", "view_session")


@pytest.fixture(scope="module")
def ender(instances: list[Server], root: str) -> str:
    """The token of somebody who may end sessions, and not look."""
    return permit(instances[0].project, "emil", "disconnect_session")


@pytest.fixture(scope="module")
def clerk(instances: list[Server], root: str) -> str:
    """The token of somebody who is staff, and nothing more."""
    return instances[0].project.issue_token("clara", "--staff")


def read_history(project: Project, id: str) -> str:
    """Who did what to a session, as the admin's history says."""
    code = (
        "from django.contrib.admin.models import LogEntry;"
        f"print([(one.user.username, one.change_message) for one in "
        f"LogEntry.objects.filter(object_id={id!r})])"
    )
    return project.manage("shell", "--verbosity", "0", "--command", code).strip()


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


@pytest.mark.parametrize("id", ["6f1ed002-ab5f-4e6b-a2a3-6f4b6fbb7a55", "x"])
async def test_an_unknown_or_malformed_id_is_not_found(
    instances: list[Server], root: str, id: str
) -> None:
    response = await call(instances[0], root, f"{id}/", method="DELETE")
    assert_refused(response, 404, "not_found")


async def test_each_call_needs_its_permission_and_to_be_staff_is_none(
    instances: list[Server], staff: str, clerk: str, ender: str, anna: str
) -> None:
    server, path = instances[0], f"{uuid.uuid4()}/"
    for method, where in (("GET", ""), ("DELETE", path)):
        refused = await call(server, None, where, method=method)
        assert_refused(refused, 401, "authentication_required")
        for token in (anna, clerk, ender if method == "GET" else staff):
            refused = await call(server, token, where, method=method)
            detail = assert_refused(refused, 403, "permission_denied")
            assert "realtime." in detail


async def test_who_may_end_but_not_look_learns_nothing_of_what_there_is(
    instances: list[Server], root: str, ender: str, staff: str, anna: str
) -> None:
    one, two = instances
    async with open_session(two, anna, "broadcast:secret") as (client, id):
        await wait_for(one, root, lambda body: body["count"] == 1)
        # Who may not end is refused before anybody looks whether there is such a session.
        refusals = {(await call(one, staff, f"{key}/", method="DELETE")).text
                    for key in (id, uuid.uuid4())}  # fmt: skip
        assert len(refusals) == 1
        await client.receive_nothing()
        answers = [await call(one, ender, f"{key}/", method="DELETE") for key in (uuid.uuid4(), id)]
        assert {(answer.status_code, answer.content) for answer in answers} == {(204, b"")}
        assert (await client.wait_closed())[0] == 4002


async def test_who_ended_a_session_stands_in_the_log_and_in_the_history(
    instances: list[Server], root: str, ender: str, anna: str
) -> None:
    one, two = instances
    async with open_session(two, anna, "broadcast:a") as (client, id):
        assert (await call(one, ender, f"{id}/", method="DELETE")).status_code == 204
        await client.wait_closed()
    assert read_history(one.project, id) == "[('emil', 'Disconnected over REST.')]"
    (line,) = (line for line in one.read_log().splitlines() if id in line and "to end" in line)
    assert "by=emil door=rest" in line
    assert "count=1 code=4002" in line
    assert "outcome=done" in line


async def test_a_command_ends_sessions_of_a_user_in_the_name_of_another(
    instances: list[Server], root: str, anna: str
) -> None:
    one, two = instances
    project = one.project
    async with open_session(two, anna, "broadcast:a") as (client, id):
        done = project.manage("disconnect", "--session", id, "--by", "root", "--reason", "a test")
        assert done == f"session {id} was told to disconnect\n"
        assert (await client.wait_closed())[0] == 4002
    assert read_history(project, id) == "[('root', 'Disconnected by a command: a test.')]"
    async with open_session(two, anna, "broadcast:a") as (client, _):
        project.manage("disconnect", "--user", "anna")
        assert (await client.wait_closed())[0] == 4002
    for options, problem in (
        (("--user", "nobody"), "there is no user 'nobody'"),
        ((), "one of the arguments"),
    ):
        with pytest.raises(AssertionError, match=problem):
            project.manage("disconnect", *options)
    with pytest.raises(AssertionError, match="REDIS_URL"):
        project.with_environment(REDIS_URL="").manage("disconnect", "--user", "anna")


@pytest.mark.parametrize("query", [{"limit": 0}, {"offset": "x"}, {"page": 2}])
async def test_a_malformed_query_is_refused(
    instances: list[Server], staff: str, query: dict[str, Any]
) -> None:
    assert_refused(await call(instances[0], staff, **query), 400, "invalid_parameter")
