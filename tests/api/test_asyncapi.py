"""The AsyncAPI document: valid, complete, true of what a real server sends; and its page."""

import asyncio
import base64
import inspect
import json
import re
import uuid
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from jsonschema import Draft7Validator

from realtime.api.asyncapi.document import build_document
from realtime.conf import Kind, get_settings
from realtime.consumers import parameters
from realtime.core import messages
from realtime.core.close_codes import CloseCode
from realtime.core.errors import CodedError, ErrorCode
from realtime.core.npy import read_array
from realtime.core.samples import parse_samples
from realtime.core.windows import FIELDS
from realtime.limits import FIRST_MESSAGE_BYTES
from tests.clients import Client, open_client, save_array
from tests.servers import Project, Server

OFFICIAL = Path(__file__).parent.parent / "vectors" / "asyncapi" / "asyncapi-3.0.0.json"
DOCUMENT: dict[str, Any] = json.loads(
    json.dumps(build_document(get_settings(), host="example.org", secure=True))
)
SCHEMAS = DOCUMENT["components"]["schemas"]
MESSAGES = DOCUMENT["components"]["messages"]
STRUCTURES = {
    name: one
    for name, one in inspect.getmembers(messages, inspect.isclass)
    if issubclass(one, msgspec.Struct) and one.__module__ == messages.__name__
}
BASES = {"ClientMessage", "ServerMessage"}
CLIENT = {one.__name__ for one in messages.ClientMessage.__subclasses__()}
SERVER = {one.__name__ for one in messages.ServerMessage.__subclasses__()}
EXAMPLES = [
    pytest.param(name, example["payload"], id=f"{name}: {example['name']}")
    for name, message in MESSAGES.items()
    for example in message["examples"]
]
# An epoch that no topic of this server has.
OTHER_EPOCH = "0" * 12


def find_faults(payload: Any, schema: dict[str, Any], document: dict[str, Any]) -> list[str]:
    """What a payload has against a schema of a document."""
    validator = Draft7Validator({**schema, "components": document["components"]})
    return [error.message for error in validator.iter_errors(payload)]


def find_references(part: Any) -> set[str]:
    """All `$ref`s in a part of the document."""
    if isinstance(part, list):
        return set().union(*map(find_references, part))
    if not isinstance(part, dict):
        return set()
    own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
    return own.union(*map(find_references, part.values()))


def list_messages(action: str) -> set[str]:
    """The messages that the server receives, or sends, also in reply."""
    operations = DOCUMENT["operations"].values()
    lists = [one["messages"] for one in operations if one["action"] == action]
    if action == "send":
        lists += [one["reply"]["messages"] for one in operations if "reply" in one]
    return {reference["$ref"].rpartition("/")[2] for list in lists for reference in list}


def test_the_document_is_valid_by_the_official_schema() -> None:
    validator = Draft7Validator(json.loads(OFFICIAL.read_text("utf-8")))
    assert [error.message for error in validator.iter_errors(DOCUMENT)] == []
    assert not validator.is_valid({**DOCUMENT, "asyncapi": "2.6.0"})
    assert not validator.is_valid({**DOCUMENT, "channels": {"topic": {"adress": "/ws/"}}})


def test_every_reference_leads_somewhere() -> None:
    for reference in find_references(DOCUMENT):
        part = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]


def test_every_structure_of_the_code_is_in_the_document() -> None:
    assert set(STRUCTURES) - BASES <= set(SCHEMAS)
    assert set(MESSAGES) >= CLIENT | SERVER
    assert list_messages("receive") >= CLIENT
    assert list_messages("send") >= SERVER | {"Statistics"}
    assert list_messages("receive") | list_messages("send") == set(MESSAGES)


def test_every_field_has_a_description() -> None:
    bare = [
        f"{name}.{field}"
        for name, schema in SCHEMAS.items()
        for field, described in schema["properties"].items()
        if "description" not in described and "$ref" not in described
    ]
    assert bare == []


@pytest.mark.parametrize(("name", "payload"), EXAMPLES)
def test_every_example_is_valid_and_read_by_the_code(name: str, payload: Any) -> None:
    message = MESSAGES[name]
    assert find_faults(payload, message["payload"], DOCUMENT) == []
    if name in CLIENT:
        assert type(messages.parse_message(payload)).__name__ == name
    elif name in SERVER:
        read = msgspec.json.decode(json.dumps(payload), type=STRUCTURES[name])
        assert json.loads(messages.encode_message(read)) == payload
    elif name in ("Chunk", "WholeArray"):
        assert read_array(base64.b64decode(payload)).tolist() == [1, 2, 3]
    elif name == "ArrayRequestShort":
        messages.convert(payload, messages.ArrayRequest)


def test_every_message_has_a_title_a_summary_and_an_example() -> None:
    for message in MESSAGES.values():
        assert message["title"]
        assert message["summary"]
        assert message["examples"]


@pytest.mark.parametrize("kind", list(Kind))
def test_the_parameters_are_those_that_the_server_reads(kind: Kind) -> None:
    query = DOCUMENT["channels"]["topic"]["bindings"]["ws"]["query"]
    documented = {n: s for n, s in query["properties"].items() if str(kind) in s["x-kinds"]}
    assert set(documented) == parameters._ALLOWED[kind]
    namespace = next(one for one in get_settings().namespaces.values() if one.kind is kind)
    position = {name: documented[name]["examples"][0] for name in ("epoch", "offset")}
    for name, schema in documented.items():
        given = position if name in position else {name: schema["examples"][0]}
        assert find_faults(given, query, DOCUMENT) == []
        parameters.parse_parameters(given, namespace)
        for wrong in ("x y", "-1", "٣"):
            if name != "epoch":
                assert find_faults({name: wrong}, query, DOCUMENT)
                with pytest.raises(CodedError):
                    parameters.parse_parameters({name: wrong}, namespace)
    assert find_faults({"epoch": "a"}, query, DOCUMENT)
    assert f"up to {parameters.MAX_INTERVAL:.0f}" in query["properties"]["interval"]["description"]


def test_the_longest_first_message_is_as_it_is_told() -> None:
    text = DOCUMENT["components"]["securitySchemes"]["firstMessage"]["description"]
    assert f"{FIRST_MESSAGE_BYTES // 1024} KiB" in text


@pytest.mark.parametrize("name", ["Sample", "Samples"])
def test_samples_are_described_as_they_are_read(name: str) -> None:
    for example in SCHEMAS[name]["examples"]:
        assert find_faults(example, SCHEMAS[name], DOCUMENT) == []
        parse_samples(example, now=0)
    for wrong in ({"value": "1"}, {"values": []}, {"value": 1, "values": [1]}, {"value": True}):
        assert find_faults(wrong, SCHEMAS[name], DOCUMENT)
        with pytest.raises(CodedError):
            parse_samples(wrong, now=0)


def test_all_codes_are_in_it_with_what_a_client_does_then() -> None:
    closes = {one["code"]: one for one in DOCUMENT["x-close-codes"]}
    assert closes.keys() == set(CloseCode)
    for code in CloseCode:
        assert closes[code]["reconnect"] is not code.final
        assert closes[code]["advice"].startswith("give up" if code.final else "reconnect")
    assert {one["code"] for one in DOCUMENT["x-error-codes"]} == set(ErrorCode)


async def fetch(server: Server, path: str, **options: Any) -> httpx.Response:
    """What a server answers to anybody."""
    secure = server.secure_port is not None
    async with httpx.AsyncClient(timeout=30, verify=secure) as http:
        return await http.get(server.http + path, **options)


async def fetch_document(server: Server) -> dict[str, Any]:
    response = await fetch(server, "/api/asyncapi.json")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    document: dict[str, Any] = response.json()
    return document


async def test_the_document_names_the_server_that_was_asked(server: Server) -> None:
    document = await fetch_document(server)
    address = document["servers"]["this"]
    assert f"{address['protocol']}://{address['host']}" == server.ws
    assert document["channels"].keys() == {"topic", "echo"}
    assert document["x-limits"]["max_frame_bytes"] == server.frame_limit
    assert document["x-namespaces"]["arrays"]["format"] == "npy"
    response = await fetch(server, "/api/asyncapi.json", headers={"host": "elsewhere.example"})
    assert response.status_code == 400


async def test_the_page_shows_all_of_the_document(server: Server) -> None:
    response = await fetch(server, "/api/asyncapi/")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    page = response.text
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    assert set(MESSAGES) - {"EchoText", "EchoBytes"} <= set(ids)
    assert {f"error-{code}" for code in ErrorCode} <= set(ids)
    assert {f"close-{code:d}" for code in CloseCode} <= set(ids)
    for name in [*parameters._ALLOWED[Kind.STATS], *get_settings().namespaces, "max_text_bytes"]:
        assert f"<code>{name}</code>" in page
    assert server.ws in page
    # Nothing that the content policy would refuse.
    assert not re.search(r"<script|<style|<[^>]+ (style|on[a-z]+)=", page)
    style = re.search(r'href="([^"]+\.css)"', page)
    assert style is not None
    assert (await fetch(server, style[1])).status_code == 200


class Witness:
    """Holds what a session receives against the document."""

    def __init__(self, document: dict[str, Any], client: Client, seen: set[str]) -> None:
        self.document = document
        self.client = client
        self.seen = seen

    async def receive(self, *types: str) -> list[dict[str, Any]]:
        """The next messages, of these types in any order; `bytes` is a binary one."""
        got = [await self.client.receive() for _ in types]
        names = ["bytes" if isinstance(one, bytes) else one["type"] for one in got]
        assert sorted(names) == sorted(types), got
        for one in got:
            if not isinstance(one, bytes):
                self.check(one)
        return [one for one in got if not isinstance(one, bytes)]

    def check(self, message: dict[str, Any]) -> None:
        """Fail where the message is not as described, or has a field that is not described."""
        name = next(
            name
            for name, described in self.document["components"]["messages"].items()
            if name in SERVER | {"Statistics"} and described["name"] == message["type"]
        )
        schema = self.document["components"]["messages"][name]["payload"]
        assert find_faults(message, schema, self.document) == [], message
        fields = self.document["components"]["schemas"][name]["properties"]
        assert message.keys() <= fields.keys()
        self.seen.add(name)


async def test_what_a_server_sends_is_as_the_document_says(server: Server, token: str) -> None:
    document = await fetch_document(server)
    seen: set[str] = set()
    name = uuid.uuid4().hex

    async with open_client(f"{server.ws}/ws/broadcast/{name}/") as client:
        witness = Witness(document, client, seen)
        await client.send({"type": "authenticate", "token": token})
        await witness.receive("hello", "subscribed")
        await client.send({"type": "publish", "ref": 1, "id": "one", "data": {"n": 1}})
        await witness.receive("ack", "publication")
        await client.send({"text": "short"})
        await witness.receive("publication")
        await client.send({"type": "ping", "ref": "p"})
        await witness.receive("pong")
        await client.send({"type": "history", "ref": 2, "limit": 5})
        (reply,) = await witness.receive("history")
        assert len(reply["publications"]) == 2
        await client.send({"type": "presence", "ref": 3})
        (refusal,) = await witness.receive("error")
        assert refusal["code"] == "not_supported"
        await client.send({"type": "refresh", "ref": 4, "token": token})
        await witness.receive("refreshed")

    query = f"?epoch={OTHER_EPOCH}&offset=1"
    async with open_client(f"{server.ws}/ws/broadcast/{name}/{query}", token) as client:
        await Witness(document, client, seen).receive("hello", "subscribed", "gap")

    query = f"?window=5&fields={','.join(FIELDS)}"
    async with open_client(f"{server.ws}/ws/stats/{name}/{query}", token) as client:
        witness = Witness(document, client, seen)
        await witness.receive("hello", "subscribed")
        await client.send({"type": "publish", "ref": 1, "data": {"values": [1, None, 3]}})
        _, statistics = sorted(await witness.receive("ack", "stats"), key=lambda one: one["type"])
        assert statistics.keys() >= set(FIELDS)

    async with open_client(f"{server.ws}/ws/arrays/{name}/", token) as client:
        witness = Witness(document, client, seen)
        await witness.receive("hello", "subscribed")
        await client.send({"type": "binary", "ref": 1, "chunks": 1})
        await client.send(save_array(np.arange(3.0)))
        await witness.receive("ack", "binary", "bytes")
        await client.send({"type": "request", "ref": 2, "shape": [2, 3]})
        await witness.receive("binary", "bytes")
        await client.send({"type": "history", "ref": 3})
        await witness.receive("history")

    async with open_client(f"{server.ws}/ws/lobby/{name}/", token) as client:
        witness = Witness(document, client, seen)
        await witness.receive("hello", "subscribed")
        async with open_client(f"{server.ws}/ws/lobby/{name}/", token):
            await witness.receive("join")
            await client.send({"type": "presence", "ref": 1})
            await witness.receive("presence")
        await witness.receive("leave")

    assert seen == SERVER | {"Statistics"}


async def test_the_page_works_without_debug_after_collectstatic(make_project: Any) -> None:
    project: Project = make_project(
        DJANGO_DEBUG="false",
        DJANGO_SECRET_KEY=uuid.uuid4().hex * 2,
        JWT_SIGNING_KEY=uuid.uuid4().hex * 2,
        DJANGO_ALLOWED_HOSTS="example.org",
    )
    code = (
        "from django.test import Client\n"
        "client = Client(headers={'host': 'example.org'})\n"
        "page = client.get('/api/asyncapi/', secure=True)\n"
        "print(page.status_code, page.content.decode())"
    )

    def run() -> str:
        project.manage("collectstatic", "--no-input", "--verbosity", "0")
        return project.manage("shell", "--verbosity", "0", "--command", code)

    page = await asyncio.to_thread(run)
    assert page.startswith("200 ")
    assert re.search(r'href="/static/realtime/asyncapi\.[0-9a-f]{12}\.css"', page)
    assert "wss://example.org/ws/" in page
