"""Publishing over real HTTP reaches WebSocket subscribers: section 9 of the protocol."""

import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import numpy as np
import pytest

from tests.clients import Client, open_client, save_array, save_as_julia_does
from tests.servers import Project, Server, start_server

NPY = "application/x-npy"


@pytest.fixture(scope="module")
def small_server(project: Project) -> Iterator[Server]:
    """A daphne with the namespaces of `tests.stats_settings` and a small bound on bodies."""
    server = start_server(
        project.with_environment(
            DJANGO_SETTINGS_MODULE="tests.stats_settings", REALTIME_MAX_BINARY_BYTES="2048"
        )
    )
    yield server
    server.stop()


@pytest.fixture
def name() -> str:
    """The name of a topic of this test's own."""
    return uuid.uuid4().hex


@asynccontextmanager
async def open_topic(server: Server, token: str, topic: str) -> AsyncIterator[tuple[Client, str]]:
    """A subscriber past `subscribed`, and the topic's epoch."""
    namespace, _, name = topic.partition(":")
    async with open_client(f"{server.ws}/ws/{namespace}/{name}/", token) as client:
        yield client, (await client.receive_type("subscribed"))["epoch"]


def is_secure(server: Server) -> bool:
    """Whether a client has to read certificates, which takes 30 ms each time."""
    return server.secure_port is not None


async def post(
    server: Server, topic: str, token: str | None, *, type: str | None = None, **options: Any
) -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    if type is not None:
        headers["Content-Type"] = type
    async with httpx.AsyncClient(timeout=30, verify=is_secure(server)) as http:
        return await http.post(
            f"{server.http}/api/topics/{topic}/publications/", headers=headers, **options
        )


def assert_refused(response: httpx.Response, status: int, code: str) -> str:
    """The error has that status and code, and says something; returns what."""
    body = response.json()
    assert (response.status_code, body.get("code")) == (status, code), response.text
    assert body.keys() == {"code", "detail"}
    assert len(body["detail"]) > 5
    return body["detail"]


async def test_json_arrives_at_a_subscriber_and_the_answer_says_where_it_stands(
    server: Server, token: str, name: str
) -> None:
    topic = f"broadcast:{name}"
    async with open_topic(server, token, topic) as (client, epoch):
        for offset, data in enumerate(({"text": "hé"}, [1, None], "text", 0, None), 1):
            response = await post(server, topic, token, json={"data": data})
            assert response.status_code == 201
            assert response.json() == {"offset": offset, "epoch": epoch, "duplicate": False}
            message = await client.receive()
            assert (message["type"], message["offset"]) == ("publication", offset)
            assert (message["data"], message["user"]) == (data, "anna")


async def test_the_same_id_is_published_once(server: Server, token: str, name: str) -> None:
    topic = f"broadcast:{name}"
    async with open_topic(server, token, topic) as (client, epoch):
        for duplicate, data in ((False, "first"), (True, "again")):
            response = await post(server, topic, token, json={"data": data, "id": "once"})
            assert response.status_code == 201
            assert response.json() == {"offset": 1, "epoch": epoch, "duplicate": duplicate}
        assert (await client.receive())["data"] == "first"
        # The id holds for the socket of the same user too.
        await client.send({"type": "publish", "data": "socket", "id": "once", "ref": 1})
        ack = await client.receive()
        assert (ack["type"], ack["offset"], ack["duplicate"]) == ("ack", 1, True)


async def test_samples_are_published_as_json_or_as_an_array(
    server: Server, token: str, name: str
) -> None:
    topic = f"stats:{name}"
    async with open_topic(server, token, topic) as (client, _):
        assert (await post(server, topic, token, json={"data": {"value": 1}})).status_code == 201
        assert (await client.receive())["value"] == 1.0
        response = await post(server, topic, token, json={"data": {"values": [2, None, 3]}})
        assert response.json()["offset"] == 2
        assert (await client.receive())["count"] == 3
        array = save_as_julia_does(np.array([5, 9], np.int8))
        assert (await post(server, topic, token, type=NPY, content=array)).json()["offset"] == 3
        message = await client.receive()
        assert (message["offset"], message["value"], message["count"]) == (3, 9.0, 5)


async def test_an_array_of_eight_megabytes_arrives_byte_for_byte(
    server: Server, token: str, name: str
) -> None:
    data = save_array(np.random.default_rng(0).random((1000, 1000)))
    topic = f"arrays:{name}"
    async with open_topic(server, token, topic) as (client, epoch):
        response = await post(server, topic, token, type=NPY, content=data)
        assert response.status_code == 201
        assert response.json() == {"offset": 1, "epoch": epoch, "duplicate": False}
        header = await client.receive()
        assert (header["format"], header["shape"]) == ("npy", [1000, 1000])
        assert b"".join([await client.receive() for _ in range(header["chunks"])]) == data


@pytest.mark.parametrize(
    ("type", "format"),
    [
        ("image/png", "image/png"),
        ("Image/PNG; charset=binary", "image/png"),
        ("application/x-protobuf", "application/x-protobuf"),
        ("application/octet-stream", "application/octet-stream"),
        ("text/plain", "text/plain"),
        ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
        (None, "application/octet-stream"),
    ],
)
@pytest.mark.parametrize("data", [b"\x00\xffbytes", b""])
async def test_a_blob_arrives_with_its_media_type(
    server: Server, token: str, name: str, type: str | None, format: str, data: bytes
) -> None:
    topic = f"blobs:{name}"
    async with open_topic(server, token, topic) as (client, _):
        response = await post(server, topic, token, type=type, content=data)
        assert response.status_code == 201, response.text
        header = await client.receive()
        assert (header["format"], header["bytes"]) == (format, len(data))
        assert await client.receive() == data


async def test_an_array_on_a_topic_of_any_bytes_is_an_array(
    server: Server, token: str, name: str
) -> None:
    topic = f"blobs:{name}"
    async with open_topic(server, token, topic) as (client, _):
        response = await post(server, topic, token, type=NPY, content=save_array(np.zeros(2)))
        assert response.status_code == 201
        header, array = await client.receive_array()
        assert (header["format"], array.tolist()) == ("npy", [0.0, 0.0])
        response = await post(server, topic, token, type=NPY, content=b"junk")
        assert_refused(response, 400, "invalid_array")


async def test_anyone_may_publish_where_the_policy_says_so_but_not_with_an_id(
    small_server: Server, name: str
) -> None:
    async with open_client(f"{small_server.ws}/ws/open/{name}/") as client:
        await client.receive_type("subscribed")
        topic = f"open:{name}"
        assert (await post(small_server, topic, None, json={"data": 1})).status_code == 201
        message = await client.receive()
        assert (message["data"], message["user"]) == (1, None)
        response = await post(small_server, topic, None, json={"data": 1, "id": "x"})
        assert_refused(response, 403, "permission_denied")


async def test_without_a_token_the_answer_is_401_and_names_the_scheme(
    server: Server, name: str
) -> None:
    response = await post(server, f"broadcast:{name}", None, json={"data": 1})
    assert_refused(response, 401, "authentication_required")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_another_scheme_in_authorization_is_no_credential(
    server: Server, token: str, name: str
) -> None:
    basic, bearer = ("Authorization", "Basic YTpi"), ("Authorization", f"Bearer {token}")
    url = f"{server.http}/api/topics/broadcast:{name}/publications/"
    async with httpx.AsyncClient(timeout=30, verify=is_secure(server)) as http:
        refused = await http.post(url, headers=[basic], json={"data": 1})
        assert_refused(refused, 401, "authentication_required")
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        for headers in ([basic, bearer], [bearer, basic]):
            assert (await http.post(url, headers=headers, json={"data": 1})).status_code == 201
        twice = await http.post(url, headers=[bearer, bearer], json={"data": 1})
        assert_refused(twice, 401, "invalid_token")


@pytest.mark.parametrize("bad", ["junk", "a.b.c", "two parts"])
async def test_a_bad_token_is_401_invalid_token(server: Server, name: str, bad: str) -> None:
    response = await post(server, f"broadcast:{name}", bad, json={"data": 1})
    assert_refused(response, 401, "invalid_token")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_an_expired_token_is_401_invalid_token(
    server: Server, project: Project, token: str, name: str
) -> None:
    claims = jwt.decode(token, options={"verify_signature": False})
    key = (project.folder / "secrets" / "JWT_SIGNING_KEY").read_text().strip()
    headers = {"kid": jwt.get_unverified_header(token)["kid"]}
    expired = jwt.encode({**claims, "exp": int(time.time()) - 1}, key, "HS256", headers=headers)
    response = await post(server, f"broadcast:{name}", expired, json={"data": 1})
    assert "expired" in assert_refused(response, 401, "invalid_token")


async def test_a_user_whom_the_policy_excludes_gets_403(
    small_server: Server, token: str, name: str
) -> None:
    response = await post(small_server, f"notices:{name}", token, json={"data": 1})
    assert_refused(response, 403, "permission_denied")
    array = save_array(np.zeros(1))
    response = await post(small_server, f"locked:{name}", token, type=NPY, content=array)
    assert_refused(response, 403, "permission_denied")


@pytest.mark.parametrize(
    "topic", ["nowhere:x", "broadcast", "broadcast:", "broadcast:a b", "broadcast:é", "Stats:x"]
)
async def test_an_unknown_topic_is_404(server: Server, token: str, topic: str) -> None:
    response = await post(server, topic, token, json={"data": 1})
    assert_refused(response, 404, "unknown_topic")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'data': 1}",
        b"[1]",
        b"1",
        b'{"data": NaN}',
        b'{"data": 1e400}',
        b'{"data": 1, "data": 2}',
        b'{"data": "\xff"}',
        b'{"data": "\\ud800"}',
        b'{"data": ' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"data": 1' + b"0" * 5000 + b"}",
    ],
)
async def test_malformed_json_is_400_invalid_json(
    server: Server, token: str, name: str, body: bytes
) -> None:
    response = await post(server, f"broadcast:{name}", token, type="application/json", content=body)
    assert_refused(response, 400, "invalid_json")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "data"),
        ({"date": 1}, "date"),
        ({"data": 1, "ref": 2}, "ref"),
        ({"data": 1, "id": ""}, "$.id"),
        ({"data": 1, "id": "x" * 65}, "$.id"),
        ({"data": 1, "id": 5}, "$.id"),
    ],
)
async def test_a_body_of_other_fields_is_400_and_named(
    server: Server, token: str, name: str, body: dict[str, Any], text: str
) -> None:
    response = await post(server, f"broadcast:{name}", token, json=body)
    assert text in assert_refused(response, 400, "invalid_message")


async def test_an_empty_body_is_400(server: Server, token: str, name: str) -> None:
    response = await post(server, f"broadcast:{name}", token, type="application/json", content=b"")
    assert response.status_code == 400
    assert response.json()["code"] in ("invalid_json", "invalid_message")


@pytest.mark.parametrize(
    ("namespace", "data", "code"),
    [
        ("arrays", b"junk", "invalid_array"),
        ("arrays", b"", "invalid_array"),
        ("arrays", save_array(np.zeros(3))[:-1], "invalid_array"),
        ("arrays", save_array(np.array(["text"])), "invalid_array"),
        ("stats", save_array(np.zeros((2, 2))), "invalid_array"),
        ("stats", save_array(np.array([np.inf])), "invalid_array"),
        ("broadcast", save_array(np.zeros(3)), "not_supported"),
    ],
)
async def test_a_bad_array_is_400(
    server: Server, token: str, name: str, namespace: str, data: bytes, code: str
) -> None:
    response = await post(server, f"{namespace}:{name}", token, type=NPY, content=data)
    assert_refused(response, 400, code)


@pytest.mark.parametrize(
    "data",
    [{"value": True}, {"values": []}, {"value": 1, "x": 2}, {"values": [1], "timestamps": []}],
)
async def test_bad_samples_are_400(
    server: Server, token: str, name: str, data: dict[str, Any]
) -> None:
    response = await post(server, f"stats:{name}", token, json={"data": data})
    assert_refused(response, 400, "invalid_message")


async def test_an_image_is_no_array_and_json_is_no_publication_of_a_binary_topic(
    server: Server, token: str, name: str
) -> None:
    response = await post(server, f"arrays:{name}", token, type="image/png", content=b"\x89PNG")
    assert_refused(response, 400, "invalid_message")
    for namespace in ("arrays", "blobs"):
        response = await post(server, f"{namespace}:{name}", token, json={"data": [1]})
        assert_refused(response, 400, "not_supported")


async def test_a_body_over_the_limit_is_413(small_server: Server, token: str, name: str) -> None:
    for size, status in ((2048, 201), (2049, 413)):
        response = await post(
            small_server, f"blobs:{name}", token, type="image/png", content=bytes(size)
        )
        assert response.status_code == status
    assert_refused(response, 413, "message_too_big")
    response = await post(small_server, f"broadcast:{name}", token, json={"data": "x" * 3_000_000})
    assert_refused(response, 413, "message_too_big")


async def test_a_sync_processor_may_use_the_database(
    small_server: Server, token: str, name: str
) -> None:
    topic = f"tables:{name}"
    async with open_topic(small_server, token, topic) as (client, _):
        assert (await post(small_server, topic, token, json={"data": {"a": 1}})).status_code == 201
        assert (await client.receive())["data"] == {"a": 1, "email": ""}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_another_method_is_405_with_what_is_allowed(
    server: Server, token: str, name: str, method: str
) -> None:
    async with httpx.AsyncClient(timeout=30, verify=is_secure(server)) as http:
        response = await http.request(
            method,
            f"{server.http}/api/topics/broadcast:{name}/publications/",
            headers={"Authorization": f"Bearer {token}"},
        )
    assert_refused(response, 405, "not_supported")
    assert "POST" in response.headers["Allow"]


async def test_a_processor_refuses_with_422_and_its_crash_is_500_without_a_traceback(
    small_server: Server, token: str, name: str
) -> None:
    topic = f"notes:{name}"
    response = await post(small_server, topic, token, json={"data": {"do": "refuse"}})
    assert assert_refused(response, 422, "rejected") == "not on a Sunday"
    response = await post(small_server, topic, token, json={"data": {"do": "crash"}})
    assert "secret" not in assert_refused(response, 500, "internal")
    response = await post(small_server, topic, token, json={"data": {"a": 1}})
    assert response.status_code == 201
