"""The OpenAPI document says what the server does: real answers are held against it."""

import asyncio
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from django.core.management import call_command
from django.urls import URLPattern, get_resolver
from jsonschema import Draft202012Validator
from rest_framework.views import APIView

from realtime.api.parameters import PUBLICATION_EXAMPLES
from realtime.api.schema import build_document
from tests.api.test_publications import is_secure
from tests.clients import open_client, save_array
from tests.servers import Project, Server, start_server

PASSWORD = "correct horse battery staple"
MAKE_USER = (
    "from django.contrib.auth import get_user_model;"
    f"get_user_model().objects.create_superuser('rosa', password='{PASSWORD}')"
)
NPY = "application/x-npy"
METHODS = {"get", "post", "delete"}
# What takes a fault of the server to see, or is the server's own to say: the tests of that do.
RARE = {"408", "414", "431", "500", "503"}
Answers = set[tuple[str, int]]


def close(schema: Any) -> Any:
    """The same schema, by which an object has no field besides those that it names."""
    if isinstance(schema, list):
        return [close(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: close(value) for key, value in schema.items()}
    if closed.get("type") == "object" and isinstance(closed.get("properties"), dict):
        closed["additionalProperties"] = False
    return closed


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return build_document()


@dataclass
class Caller:
    """Makes calls, and holds each answer against the document."""

    document: dict[str, Any]
    http: httpx.Client
    tokens: dict[str, str]
    seen: Answers = field(default_factory=set)
    queries: set[tuple[str, str]] = field(default_factory=set)

    def __call__(
        self,
        id: str,
        status: int,
        code: str | None = None,
        *,
        by: str | None = None,
        path: dict[str, str] | None = None,
        **options: Any,
    ) -> Any:
        """Call an operation; `by` names a token, `code` is that of the expected error."""
        method, url, operation = find_operation(self.document, id)
        headers = dict(options.pop("headers", {}))
        if by is not None:
            headers["Authorization"] = f"Bearer {self.tokens.get(by, by)}"
        response = self.http.request(method, url.format(**(path or {})), headers=headers, **options)
        assert response.status_code == status, (id, response.text)
        self.check(id, operation, response)
        if code is not None:
            assert response.json()["code"] == code
        elif status < 300:
            self.check_request(id, operation, options)
        return response.json() if response.content else None

    def check(self, id: str, operation: dict[str, Any], response: httpx.Response) -> None:
        """The answer is one that the document has, in its headers and in every field."""
        self.seen.add((id, response.status_code))
        described = operation["responses"][str(response.status_code)]
        for name, header in described.get("headers", {}).items():
            assert name in response.headers, (id, name)
            if header["schema"]["type"] == "integer":
                assert response.headers[name].isdecimal()
        if "content" not in described:
            assert response.content == b""
            return
        media_type = response.headers["Content-Type"].partition(";")[0]
        self.validate(described["content"][media_type]["schema"], response.json())

    def check_request(self, id: str, operation: dict[str, Any], options: dict[str, Any]) -> None:
        """What the server took is what the document allows."""
        names = {found["name"] for found in operation.get("parameters", ()) if is_query(found)}
        for name in options.get("params", {}):
            assert name in names, (id, name)
            self.queries.add((id, name))
        if "json" in options:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            self.validate(schema, options["json"])

    def validate(self, schema: Any, value: Any) -> None:
        whole = {"components": self.document["components"], "allOf": [schema]}
        Draft202012Validator(close(whole)).validate(value)


def is_query(parameter: dict[str, Any]) -> bool:
    return parameter["in"] == "query"


def list_operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield method, path, operation


def find_operation(document: dict[str, Any], id: str) -> tuple[str, str, dict[str, Any]]:
    return next(found for found in list_operations(document) if found[2]["operationId"] == id)


def list_endpoints(patterns: Any, prefix: str = "/") -> Iterator[tuple[str, str]]:
    """Method and path of each endpoint of REST framework."""
    for pattern in patterns:
        path = prefix + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern))
        if not isinstance(pattern, URLPattern):
            yield from list_endpoints(pattern.url_patterns, path)
        elif isinstance(getattr(pattern.callback, "cls", None), type) and issubclass(
            pattern.callback.cls, APIView
        ):
            for method in METHODS:
                if hasattr(pattern.callback.cls, method):
                    yield method, path


def test_it_is_valid_and_made_without_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json")
    assert json.loads(capsys.readouterr().out)["openapi"].startswith("3.1")


def test_it_has_every_endpoint_that_is_for_others(document: dict[str, Any]) -> None:
    own = ("/api/browser/", "/api/docs/", "/api/asyncapi")
    endpoints = {
        found
        for found in list_endpoints(get_resolver().url_patterns)
        if not found[1].startswith(own)
    }
    assert {(method, path) for method, path, _ in list_operations(document)} == endpoints


def test_every_operation_is_described_and_says_who_may_call(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in list_operations(document)]
    assert len(set(ids)) == len(ids)
    tags = {tag["name"] for tag in document["tags"]}
    bearer: dict[str, list[str]] = {"bearer": []}
    for method, path, operation in list_operations(document):
        assert operation["summary"], path
        assert operation["description"], path
        assert set(operation["tags"]) <= tags
        if path.startswith(("/api/token/", "/api/schema/")):
            assert operation["security"] == [{}]
        elif "{topic}" in path:
            assert operation["security"] == [bearer, {}]  # as the policy is
        else:
            assert operation["security"] == [bearer], (method, path)


@pytest.fixture(scope="session")
def tokens(project: Project, token: str) -> dict[str, str]:
    """Of a user, and of one who may do everything and is of this file alone."""
    project.manage("shell", "--verbosity", "0", "--command", MAKE_USER)
    return {"anna": token, "rosa": project.issue_token("rosa")}


@pytest.fixture
def caller(server: Server, tokens: dict[str, str], document: dict[str, Any]) -> Iterator[Caller]:
    with httpx.Client(base_url=server.http, timeout=30, verify=is_secure(server)) as http:
        yield Caller(document, http, tokens)


async def test_answers_are_what_it_says(server: Server, caller: Caller, token: str) -> None:
    name = uuid.uuid4().hex
    call_tokens(caller)
    call_publications(caller, name)
    call_reading(caller, name)
    async with open_client(f"{server.ws}/ws/lobby/{name}/", token) as client:
        session = (await client.receive_type("hello"))["session"]
        await client.receive_type("subscribed")
        await asyncio.to_thread(call_lists, caller, f"lobby:{name}", session)
    call_disconnect(caller)
    caller("read_schema", 200)
    caller("read_schema", 406, headers={"Accept": "image/png"})
    declared = {
        (operation["operationId"], int(status))
        for _, _, operation in list_operations(caller.document)
        for status in operation["responses"]
        if status not in RARE
    }
    unseen = {(id, status) for id, status in declared if status not in BEFORE_A_VIEW}
    assert unseen - caller.seen <= TIGHT  # those have a server of their own
    queries = {
        (operation["operationId"], found["name"])
        for _, _, operation in list_operations(caller.document)
        for found in operation.get("parameters", ())
        if is_query(found) and operation["operationId"] != "read_schema"
    }
    assert caller.queries == queries


def call_tokens(caller: Caller) -> None:
    credentials = {"username": "rosa", "password": PASSWORD}
    pair = caller("obtain_tokens", 200, json=credentials)
    wrong = {**credentials, "password": "x"}
    caller("obtain_tokens", 401, "authentication_required", json=wrong)
    caller("verify_token", 200, json={"token": pair["access"]})
    caller("verify_token", 401, "invalid_token", json={"token": "x"})
    pair = caller("refresh_tokens", 200, json={"refresh": pair["refresh"]})
    caller("refresh_tokens", 401, "invalid_token", json={"refresh": "x"})
    caller("revoke_tokens", 204, json={"refresh": pair["refresh"]})
    caller("revoke_tokens", 401, "invalid_token", json={"refresh": "x"})
    for id in ("obtain_tokens", "verify_token", "refresh_tokens", "revoke_tokens"):
        caller(id, 403, "permission_denied", json={}, headers={"Origin": "https://evil.example"})
        caller(id, 400, "invalid_message", json={})
        caller(id, 400, "invalid_json", content=b"{", headers={"Content-Type": "application/json"})
        caller(id, 406, "not_supported", json={}, headers={"Accept": "image/png"})
        caller(id, 413, "message_too_big", json={"token": "x" * 3_000_000})
        caller(id, 415, "not_supported", data={"a": "b"})


def call_publications(caller: Caller, name: str) -> None:
    for example in PUBLICATION_EXAMPLES:
        kind = "broadcast" if example.name.startswith("Broadcast") else "stats"
        caller("publish", 201, by="anna", path={"topic": f"{kind}:{name}"}, json=example.value)
    for topic, type, content in (
        ("arrays", NPY, save_array(np.arange(6.0).reshape(2, 3))),
        ("stats", NPY, save_array(np.arange(3.0))),
        ("blobs", "application/octet-stream", b"\x00\xff"),
        ("blobs", "image/png", b"\x89PNG"),
    ):
        headers = {"Content-Type": type}
        path = {"topic": f"{topic}:{name}"}
        caller("publish", 201, by="anna", path=path, content=content, headers=headers)
    path = {"topic": f"broadcast:{name}"}
    json_type = {"Content-Type": "application/json"}
    npy_type = {"Content-Type": NPY}
    caller("publish", 400, "invalid_message", by="anna", path=path, json={"text": "x"})
    caller("publish", 400, "invalid_json", by="anna", path=path, content=b"{", headers=json_type)
    caller("publish", 400, "not_supported", by="anna", path=path, content=b"x", headers=npy_type)
    array = {"topic": f"arrays:{name}"}
    caller("publish", 400, "invalid_array", by="anna", path=array, content=b"x", headers=npy_type)
    caller("publish", 401, "authentication_required", path=path, json={"data": 1})
    caller("publish", 401, "invalid_token", by="x.y.z", path=path, json={"data": 1})
    foreign = {"topic": "user.0:x"}
    caller("publish", 404, "unknown_topic", by="anna", path=foreign, json={"data": 1})
    long = {"data": "x" * 3_000_000}
    caller("publish", 413, "message_too_big", by="anna", path=path, json=long)
    accept = {"Accept": "image/png"}
    caller("publish", 406, "not_supported", by="anna", path=path, json={"data": 1}, headers=accept)


def call_reading(caller: Caller, name: str) -> None:
    for kind in ("broadcast", "stats", "arrays", "blobs", "lobby"):
        body = caller("read_history", 200, by="anna", path={"topic": f"{kind}:{name}"})
        assert bool(body["publications"]) == (kind != "lobby")
    path = {"topic": f"stats:{name}"}
    query = {"after": "1", "epoch": "x", "limit": "2"}
    caller("read_history", 200, by="anna", path=path, params=query)
    figures = find_operation(caller.document, "read_statistics")[2]["parameters"]
    fields = next(found for found in figures if found["name"] == "fields")["schema"]["items"]
    query = {"window": "100", "fields": ",".join(fields["enum"])}
    body = caller("read_statistics", 200, by="anna", path=path, params=query)
    assert body["nan_count"] == 1
    assert body["count"] > 1
    caller("read_statistics", 200, by="anna", path={"topic": "stats:nothing"}, params=query)
    broadcast = {"topic": f"broadcast:{name}"}
    caller("read_statistics", 400, "not_supported", by="anna", path=broadcast)
    for id in ("read_history", "read_statistics", "list_presence"):
        caller(id, 400, "invalid_parameter", by="anna", path=path, params={"colour": "1"})
        caller(id, 400, "token_in_query", by="anna", path=path, params={"token": "1"})
        caller(id, 401, "authentication_required", path=path)
        caller(id, 401, "invalid_token", by="x.y.z", path=path)
        caller(id, 404, "unknown_topic", by="anna", path={"topic": "nowhere:x"})
        caller(id, 406, "not_supported", by="anna", path=path, headers={"Accept": "image/png"})


def call_lists(caller: Caller, topic: str, session: str) -> None:
    page = {"limit": "10", "offset": "0"}
    body = caller("list_presence", 200, by="anna", path={"topic": topic}, params=page)
    assert [row["session"] for row in body["results"]] == [session]
    deadline = time.monotonic() + 30
    while not (rows := caller("list_sessions", 200, by="rosa", params={"topic": topic})["results"]):
        assert time.monotonic() < deadline  # rows are written in batches
        time.sleep(0.05)
    body = caller("list_topics", 200, by="rosa", params={"limit": "1000", "offset": "0"})
    assert {"topic": topic, "sessions": 1} in body["results"]
    row = rows[0]
    query = {key: row[key] for key in ("user", "topic", "instance", "address")}
    assert caller("list_sessions", 200, by="rosa", params={**query, **page})["count"] == 1
    caller("disconnect_session", 204, by="rosa", path={"id": session})
    for id in ("list_topics", "list_sessions"):
        caller(id, 400, "invalid_parameter", by="rosa", params={"limit": "0"})
        caller(id, 400, "token_in_query", by="rosa", params={"jwt": "x"})
        caller(id, 401, "authentication_required")
        caller(id, 401, "invalid_token", by="x.y.z")
        caller(id, 403, "permission_denied", by="anna")
        caller(id, 406, "not_supported", by="rosa", headers={"Accept": "image/png"})


def call_disconnect(caller: Caller) -> None:
    path = {"id": str(uuid.uuid4())}
    caller("disconnect_session", 401, "authentication_required", path=path)
    caller("disconnect_session", 403, "permission_denied", by="anna", path=path)
    caller("disconnect_session", 404, "not_found", by="rosa", path=path)
    accept = {"Accept": "image/png"}
    caller("disconnect_session", 406, "not_supported", by="rosa", path=path, headers=accept)


# What the server and the gate before Django answer to any call, for whatever operation.
BEFORE_A_VIEW = {400, 408, 413, 414, 429, 431, 503}
ON_A_TOPIC = ("publish", "read_history", "read_statistics", "list_presence")
ON_TOKENS = ("obtain_tokens", "verify_token", "refresh_tokens", "revoke_tokens")
TIGHT: Answers = {
    ("publish", 422),
    *((id, 403) for id in ON_A_TOPIC),
    *((id, 429) for id in (*ON_A_TOPIC, *ON_TOKENS)),
}


def test_refusals_of_policies_processors_and_limits_are_what_it_says(
    make_project: Callable[..., Project], document: dict[str, Any]
) -> None:
    project = make_project(
        DJANGO_SETTINGS_MODULE="tests.project_settings",
        REALTIME_MESSAGES_PER_SECOND="1",
        SIGN_IN_RATE="1/h",
        TOKEN_RATE="3/h",
    )
    tokens = {name: project.issue_token(name) for name in ("anna", "ben", "cleo")}
    server = start_server(project)
    try:
        with httpx.Client(base_url=server.http, timeout=30) as http:
            caller = Caller(document, http, tokens)
            call_tight(caller)
    finally:
        server.stop()
    assert caller.seen >= TIGHT


def test_every_operation_names_what_it_is_answered_with_before_a_view_is_asked(
    make_project: Callable[..., Project], document: dict[str, Any]
) -> None:
    for _, path, operation in list_operations(document):
        assert {int(status) for status in operation["responses"]} >= BEFORE_A_VIEW, path
    server = start_server(make_project(REALTIME_REQUESTS_PER_SECOND="1"), "serve")
    try:
        with httpx.Client(base_url=server.http, timeout=30) as http:
            caller = Caller(document, http, {})
            for _ in range(10):
                call_freely(caller, "read_schema")
            for _, _, operation in list_operations(document):
                call_freely(caller, operation["operationId"])
                assert (operation["operationId"], 429) in caller.seen
    finally:
        server.stop()


def call_tight(caller: Caller) -> None:
    caller(
        "publish", 403, "permission_denied", path={"topic": "open:x"}, json={"data": 1, "id": "x"}
    )
    caller(
        "publish",
        403,
        "permission_denied",
        by="anna",
        path={"topic": "notices:x"},
        json={"data": 1},
    )
    for id in ON_A_TOPIC[1:]:
        caller(id, 403, "permission_denied", by="anna", path={"topic": "secret:x"})
    polite = {"topic": "polite:x"}
    caller("publish", 422, "rejected", by="anna", path=polite, json={"data": "rude"})
    caller("publish", 500, "internal", by="ben", path=polite, json={"data": "odd"})
    for id in ON_A_TOPIC:
        exhaust(caller, id)
    for id in ON_TOKENS:
        body = {"token": "x", "refresh": "x", "username": "x", "password": "x"}
        while (id, 429) not in caller.seen:
            call_freely(caller, id, json=body)


def exhaust(caller: Caller, id: str) -> None:
    """Call until it is too often; how much is let through at first is no matter here."""
    options = {"json": {"data": 1}} if id == "publish" else {}
    for _ in range(100):
        call_freely(caller, id, token=caller.tokens["cleo"], topic="broadcast:x", **options)
        if (id, 429) in caller.seen:
            return
    raise AssertionError(f"{id} is never refused")


def call_freely(
    caller: Caller, id: str, *, token: str | None = None, topic: str = "", **options: Any
) -> None:
    """Call, and hold whatever the answer is against the document."""
    method, url, operation = find_operation(caller.document, id)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    response = caller.http.request(
        method, url.format(topic=topic, id=topic), headers=headers, **options
    )
    caller.check(id, operation, response)


def test_the_file_is_json_or_yaml(server: Server, document: dict[str, Any]) -> None:
    with httpx.Client(base_url=server.http, timeout=30, verify=is_secure(server)) as http:
        text = http.get("/api/schema/", headers={"Authorization": "Bearer old"})
        assert text.headers["Content-Type"] == "application/json"
        assert text.json() == json.loads(json.dumps(document))
        assert yaml.safe_load(http.get("/api/schema/?format=yaml").text) == text.json()
