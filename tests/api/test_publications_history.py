"""Reading the history over REST: the same publications as over a WebSocket."""

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from django.test import Client as DjangoClient

from tests.api.test_publications import assert_refused, is_secure, post
from tests.clients import open_client, save_array
from tests.servers import ROOT, Project, RedisServer, Server, start_server


@pytest.fixture(scope="module")
def small_server(project: Project) -> Iterator[Server]:
    """A daphne with the namespaces of `tests.project_settings`."""
    server = start_server(project.with_environment(DJANGO_SETTINGS_MODULE="tests.project_settings"))
    yield server
    server.stop()


@pytest.fixture
def name() -> str:
    """The name of a topic of this test's own."""
    return uuid.uuid4().hex


async def get(server: Server, topic: str, token: str | None, **query: Any) -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(timeout=30, verify=is_secure(server)) as http:
        return await http.get(
            f"{server.http}/api/topics/{topic}/publications/", headers=headers, params=query
        )


async def read(server: Server, topic: str, token: str | None, **query: Any) -> dict[str, Any]:
    response = await get(server, topic, token, **query)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/json"
    body = response.json()
    assert body.keys() == {"epoch", "top", "publications", "complete"}
    return body


@pytest.mark.parametrize(
    ("namespace", "options"),
    [
        ("broadcast", [{"json": {"data": data}} for data in ({"text": "hé"}, [1.5, None], "x")]),
        ("stats", [{"json": {"data": {"values": [1, None, 2], "timestamps": [1, 2, 3]}}}]),
        (
            "arrays",
            [
                {"type": "application/x-npy", "content": save_array(np.zeros(shape))}
                for shape in ((2, 3), ())
            ],
        ),
        ("blobs", [{"type": "image/png", "content": b"\x89PNG"}]),
    ],
)
async def test_the_publications_are_those_of_the_history_message_to_the_letter(
    small_server: Server, token: str, name: str, namespace: str, options: list[dict[str, Any]]
) -> None:
    topic = f"{namespace}:{name}"
    for each in options:
        assert (await post(small_server, topic, token, **each)).status_code == 201
    body = await read(small_server, topic, token)
    url = f"{small_server.ws}/ws/{namespace}/{name}/?subscribe=0"
    async with open_client(url, token) as client:
        await client.send({"type": "history", "ref": 1, "after": 0})
        reply = await client.receive_type("history")
    assert body == {key: reply[key] for key in body}
    assert len(body["publications"]) == body["top"] == len(options)
    assert body["complete"] is True


async def test_pages_follow_each_other_by_the_last_offset_until_the_top(
    small_server: Server, token: str, name: str
) -> None:
    topic = f"broadcast:{name}"
    for number in range(7):
        await post(small_server, topic, token, json={"data": number})
    seen: list[int] = []
    after = 0
    while True:
        body = await read(small_server, topic, token, after=after, limit=3)
        assert body["top"] == 7
        seen += [one["data"] for one in body["publications"]]
        after = body["publications"][-1]["offset"]
        if after == body["top"]:
            break
        assert len(body["publications"]) == 3
    assert seen == list(range(7))
    end = await read(small_server, topic, token, after=7, epoch=body["epoch"])
    assert (end["publications"], end["complete"], end["top"]) == ([], True, 7)


async def test_a_page_is_cut_before_one_mebibyte(
    small_server: Server, token: str, name: str
) -> None:
    topic = f"broadcast:{name}"
    for number in range(4):
        await post(small_server, topic, token, json={"data": str(number) * 400_000})
    response = await get(small_server, topic, token)
    assert len(response.content) <= 1024 * 1024
    body = response.json()
    assert [one["offset"] for one in body["publications"]] == [1, 2]
    assert (body["top"], body["complete"]) == (4, True)


async def test_what_is_gone_is_said(small_server: Server, token: str, name: str) -> None:
    topic = f"short:{name}"  # keeps five
    for number in range(1, 9):
        await post(small_server, topic, token, json={"data": number})
    for after, complete in ((0, False), (2, False), (3, True), (5, True)):
        body = await read(small_server, topic, token, after=after)
        assert [one["data"] for one in body["publications"]] == list(range(max(after, 3) + 1, 9))
        assert body["complete"] is complete, after
    body = await read(small_server, topic, token, after=5, epoch=body["epoch"])
    assert body["complete"] is True
    other = await read(small_server, topic, token, after=5, epoch="another")
    assert other["complete"] is False
    assert [one["offset"] for one in other["publications"]] == [4, 5, 6, 7, 8]


async def test_a_topic_without_publications_has_an_epoch_and_no_top(
    small_server: Server, token: str, name: str
) -> None:
    body = await read(small_server, f"broadcast:{name}", token)
    assert (body["top"], body["publications"], body["complete"]) == (0, [], True)
    assert (await read(small_server, f"broadcast:{name}", token))["epoch"] == body["epoch"]


async def test_the_subscribe_policy_decides_who_reads(
    small_server: Server, token: str, project: Project, name: str
) -> None:
    await read(small_server, f"open:{name}", None)
    await read(small_server, f"public:{name}", None)
    await read(small_server, f"notices:{name}", token)  # only publishing is for the staff
    response = await get(small_server, f"broadcast:{name}", None)
    assert_refused(response, 401, "authentication_required")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert_refused(await get(small_server, f"open:{name}", "junk"), 401, "invalid_token")
    assert_refused(await get(small_server, f"secret:{name}", token), 403, "permission_denied")
    staff = project.issue_token("stella", "--staff")
    await read(small_server, f"secret:{name}", staff)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"after": "-1"}, "after"),
        ({"after": "x"}, "after"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"epoch": ""}, "epoch"),
        ({"offset": "1"}, "offset"),
        ({"after": ["1", "2"]}, "after"),
    ],
)
async def test_a_malformed_parameter_is_400_and_named(
    small_server: Server, token: str, name: str, query: dict[str, Any], named: str
) -> None:
    response = await get(small_server, f"broadcast:{name}", token, **query)
    assert assert_refused(response, 400, "invalid_parameter").startswith(named)


async def test_other_refusals_have_their_codes(small_server: Server, token: str, name: str) -> None:
    assert_refused(await get(small_server, f"nowhere:{name}", token), 404, "unknown_topic")
    assert_refused(await get(small_server, f"fleeting:{name}", token), 400, "not_supported")
    response = await get(small_server, f"broadcast:{name}", token, jwt="secret")
    assert "secret" not in assert_refused(response, 400, "token_in_query")


def test_without_a_server_or_redis_there_is_nothing_to_read_and_the_answer_says_so(
    settings: Any,
) -> None:
    settings.REALTIME = {"NAMESPACES": {"open": {"kind": "stats", "subscribe": "anyone"}}}
    for path in ("publications", "stats"):
        response = DjangoClient().get(f"/api/topics/open:a/{path}/")
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        assert "REDIS_URL" in response.json()["detail"]
        assert response.headers["Retry-After"] == "1"


READ_TWICE = """
from django.test import Client
from realtime import publish
publish("open:a", {"n": 1})
client = Client()
print(client.get("/api/topics/open:a/publications/").json()["publications"][0]["data"])
input()
response = client.get("/api/topics/open:a/publications/")
print(response.status_code, response.json()["code"], response.headers["Retry-After"])
"""


def test_a_process_without_a_server_reads_redis_and_its_outage_is_503(
    make_project: Callable[..., Project], redis: RedisServer
) -> None:
    project = make_project(
        REDIS_URL=redis.url,
        DJANGO_SETTINGS_MODULE="tests.project_settings",
        DJANGO_ALLOWED_HOSTS="testserver",
        REALTIME_HISTORY_TIMEOUT="5",
    )
    process = subprocess.Popen(
        [sys.executable, "manage.py", "shell", "-v", "0", "-c", READ_TWICE],
        cwd=ROOT,
        env=project.full_environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "{'n': 1}\n"
        redis.kill()
        output, _ = process.communicate("\n", timeout=60)
    assert output == "503 unavailable 1\n"
