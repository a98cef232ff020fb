"""Which topics are in use, and who is on one: REST over two instances."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from tests.api.test_publications import assert_refused, is_secure
from tests.api.test_sessions import permit
from tests.clients import open_client
from tests.servers import Project, RedisServer, Server, start_server


@pytest.fixture(scope="module")
def instances(
    make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Server]]:
    """Two servers of one project."""
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    project = make_project(REDIS_URL=redis.url, DJANGO_SETTINGS_MODULE="tests.api.settings")
    with ThreadPoolExecutor() as pool:
        servers = list(pool.map(start_server, (project, project)))
    yield servers
    for server in servers:
        server.stop()
    redis.kill()


@pytest.fixture(scope="module")
def staff(instances: list[Server]) -> str:
    """The token of somebody who may see sessions."""
    return permit(instances[0].project, "stella", "view_session")


@pytest.fixture(scope="module")
def anna(instances: list[Server]) -> str:
    return instances[0].project.issue_token("anna")


async def get(server: Server, path: str, token: str | None, **query: Any) -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(timeout=30, verify=is_secure(server)) as http:
        return await http.get(f"{server.http}/api/{path}/", headers=headers, params=query)


async def wait_for(
    server: Server, path: str, token: str, is_right: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Ask until the answer is right: rows and members are written in batches."""
    deadline = time.monotonic() + 30
    while True:
        response = await get(server, path, token)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        assert body.keys() == {"count", "results"}
        if is_right(body):
            return body
        assert time.monotonic() < deadline, body
        await asyncio.sleep(0.05)


async def test_topics_of_all_instances_are_listed_with_their_sessions(
    instances: list[Server], staff: str, anna: str
) -> None:
    one, two = instances
    async with AsyncExitStack() as stack:
        for server, path in (
            (one, "broadcast/b"),
            (two, "broadcast/b"),
            (two, "stats/a"),
            (one, "arrays/c"),
            (one, "echo"),
        ):
            await stack.enter_async_context(open_client(f"{server.ws}/ws/{path}/", anna))
        expected = [
            {"topic": "arrays:c", "sessions": 1},
            {"topic": "broadcast:b", "sessions": 2},
            {"topic": "stats:a", "sessions": 1},
        ]
        for server in instances:
            body = await wait_for(server, "topics", staff, lambda body: body["count"] == 3)
            assert body["results"] == expected
        page = (await get(one, "topics", staff, limit=1, offset=1)).json()
        assert page == {"count": 3, "results": expected[1:2]}
        assert (await get(one, "topics", staff, offset=9)).json() == {"count": 3, "results": []}
    await wait_for(two, "topics", staff, lambda body: body == {"count": 0, "results": []})


async def test_topics_are_for_who_may_see_sessions(
    instances: list[Server], staff: str, anna: str
) -> None:
    response = await get(instances[0], "topics", None)
    assert_refused(response, 401, "authentication_required")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    clerk = instances[0].project.issue_token("clara", "--staff")
    for token in (anna, clerk):
        assert_refused(await get(instances[0], "topics", token), 403, "permission_denied")
    for query in ({"limit": 0}, {"limit": 1001}, {"offset": "x"}, {"page": 2}):
        response = await get(instances[0], "topics", staff, **query)
        detail = assert_refused(response, 400, "invalid_parameter")
        assert detail.startswith(next(iter(query)))


async def test_who_is_on_a_topic_is_listed_the_oldest_first(
    instances: list[Server], staff: str, anna: str
) -> None:
    one, two = instances
    async with AsyncExitStack() as stack:
        sessions = []
        for server, token in ((one, anna), (two, staff), (one, anna)):
            client = await stack.enter_async_context(open_client(f"{server.ws}/ws/rooms/a/", token))
            sessions.append((await client.receive_type("hello"))["session"])
            await client.receive_type("subscribed")
        path = "topics/rooms:a/presence"
        for server in instances:
            body = await wait_for(server, path, anna, lambda body: body["count"] == 3)
            assert [each["session"] for each in body["results"]] == sessions
            assert [each["user"] for each in body["results"]] == ["anna", "stella", "anna"]
            since = [each["since"] for each in body["results"]]
            assert since == sorted(since)
            assert all(text.endswith("Z") and len(text) == 27 for text in since)
            assert all(each.keys() == {"session", "user", "since"} for each in body["results"])
        page = (await get(two, path, anna, limit=1, offset=2)).json()
        assert (page["count"], page["results"]) == (3, body["results"][2:])
    await wait_for(two, path, anna, lambda body: body == {"count": 0, "results": []})


async def test_presence_that_is_off_or_not_for_this_user_is_refused(
    instances: list[Server], anna: str
) -> None:
    server = instances[0]
    for topic, token, status, code in (
        ("broadcast:a", anna, 400, "not_supported"),
        ("rooms:a", None, 401, "authentication_required"),
        ("secret:a", anna, 403, "permission_denied"),
        ("nowhere:a", anna, 404, "unknown_topic"),
    ):
        assert_refused(await get(server, f"topics/{topic}/presence", token), status, code)
