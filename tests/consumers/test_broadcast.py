"""Publishing and receiving on a broadcast topic, on a real daphne: sections 3, 4 and 8."""

import asyncio
import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx
import jwt
import pytest

from tests.clients import open_client
from tests.consumers.conftest import Join, Session
from tests.servers import Server

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
FLEETING = "fleeting"


def is_now(text: str) -> bool:
    """Whether that is a time of the protocol, and not long ago."""
    assert TIME.fullmatch(text)
    return -1 < (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds() < 60


async def publish(client: Session, data: Any, **more: Any) -> dict[str, Any]:
    """Publish with a ref; the ack. What else comes until then is passed over."""
    await client.send({"type": "publish", "data": data, "ref": "r", **more})
    return await client.receive_type("ack")


# Every field


async def test_hello_has_every_field_and_nothing_else(
    server: Server, token: str, join: Join, name: str
) -> None:
    async with (
        join(server, f"broadcast/{name}/", token) as one,
        join(server, f"broadcast/{name}/?subscribe=0", token) as two,
    ):
        exp = jwt.decode(token, options={"verify_signature": False})["exp"]
        assert is_now(one.hello["server_time"])
        assert one.hello == {
            "type": "hello",
            "session": str(uuid.UUID(one.hello["session"])),
            "instance": two.hello["instance"],
            "user": "anna",
            "expires_at": datetime.fromtimestamp(exp, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z"),
            "protocol": "realtime.v1",
            "server_time": one.hello["server_time"],
            "ping_interval": 20,
            "limits": {
                "max_text_bytes": 65_536,
                "max_binary_bytes": 16_777_216,
                "max_frame_bytes": server.frame_limit,
            },
        }
        assert two.hello["session"] != one.hello["session"]


async def test_subscribed_publication_and_ack_have_every_field_and_nothing_else(
    server: Server, token: str, join: Join, name: str
) -> None:
    topic = f"broadcast:{name}"
    async with join(server, f"broadcast/{name}/", token) as client:
        assert client.subscribed is not None
        epoch = client.subscribed["epoch"]
        assert isinstance(epoch, str)
        assert epoch
        assert client.subscribed == {
            "type": "subscribed",
            "topic": topic,
            "epoch": epoch,
            "offset": 0,
            "next": 1,
            "recovered": None,
        }
        await client.send({"type": "publish", "data": {"a": [1, None]}, "ref": 5})
        first, second = await client.receive(), await client.receive()
        ack, publication = (first, second) if first["type"] == "ack" else (second, first)
        assert ack == {
            "type": "ack",
            "ref": 5,
            "topic": topic,
            "offset": 1,
            "epoch": epoch,
            "duplicate": False,
        }
        assert is_now(publication["server_time"])
        assert publication == {
            "type": "publication",
            "topic": topic,
            "offset": 1,
            "data": {"a": [1, None]},
            "user": "anna",
            "server_time": publication["server_time"],
        }
    async with join(server, f"broadcast/{name}/", token) as client:
        assert client.subscribed is not None
        assert [client.subscribed[field] for field in ("epoch", "offset", "next")] == [epoch, 1, 2]


async def test_pong_has_every_field_and_nothing_else(
    server: Server, token: str, join: Join, name: str
) -> None:
    async with join(server, f"broadcast/{name}/", token) as client:
        await client.send({"type": "ping", "ref": "p"})
        pong = await client.receive()
        assert is_now(pong["server_time"])
        assert pong == {"type": "pong", "ref": "p", "server_time": pong["server_time"]}


# Publishing


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('{"value": 3}', {"value": 3}),
        ("{}", {}),
        ('{"ref": "x", "id": "y", "data": 1}', {"ref": "x", "id": "y", "data": 1}),
        (
            '{"type": "publish", "data": {"type": "ping", "x": [1.5, "ü"]}}',
            {"type": "ping", "x": [1.5, "ü"]},
        ),
        ('{"type": "publish", "data": null}', None),
        ('{"type": "publish", "data": "text"}', "text"),
        ('{"type": "publish", "data": [[], 1e-3, -0.0, 9223372036854775807]}', None),
    ],
)
async def test_short_and_full_form_publish_any_json_and_without_a_ref_no_ack_comes(
    server: Server, token: str, join: Join, name: str, text: str, data: Any
) -> None:
    async with join(server, f"broadcast/{name}/", token) as client:
        await client.send(text)
        publication = await client.receive()
        assert publication["type"] == "publication"
        assert publication["data"] == (data or json.loads(text).get("data", {}))
        await client.send({"type": "ping", "ref": 1})
        assert (await client.receive())["type"] == "pong"  # and no ack


async def test_messages_sent_before_hello_are_answered_after_it(
    server: Server, token: str, name: str
) -> None:
    async with open_client(f"{server.ws}/ws/broadcast/{name}/", token) as client:
        await client.send({"value": 1})
        types = [(await client.receive())["type"] for _ in range(3)]
        assert types == ["hello", "subscribed", "publication"]


async def test_a_publish_only_session_gets_acks_and_no_publications(
    server: Server, token: str, join: Join, name: str
) -> None:
    async with (
        join(server, f"broadcast/{name}/?subscribe=0", token) as publisher,
        join(server, f"broadcast/{name}/", token) as subscriber,
    ):
        assert (await publish(publisher, "hi"))["offset"] == 1
        assert (await subscriber.receive())["data"] == "hi"
        await publisher.receive_nothing(0.1)


async def test_acks_come_in_publish_order_and_every_subscriber_gets_all_once_in_order(
    server: Server, token: str, join: Join, name: str
) -> None:
    count, path = 300, f"broadcast/{name}/"
    async with (
        join(server, path, token) as one,
        join(server, path, token) as two,
        join(server, path, token) as three,
    ):

        async def send(client: Session, sender: int) -> None:
            for ref in range(count):
                await client.send({"type": "publish", "data": [sender, ref], "ref": ref})

        async def read(client: Session, acks: int) -> tuple[list[Any], list[Any]]:
            messages = [await client.receive() for _ in range(acks + 2 * count)]
            return (
                [message for message in messages if message["type"] == "ack"],
                [message for message in messages if message["type"] == "publication"],
            )

        _, _, first, second, third = await asyncio.gather(
            send(one, 1), send(two, 2), read(one, count), read(two, count), read(three, 0)
        )
        for acks, _ in (first, second):
            assert [ack["ref"] for ack in acks] == list(range(count))
        for _, publications in (first, second, third):
            assert [each["offset"] for each in publications] == list(range(1, 2 * count + 1))
            assert publications == third[1]
        for sender, (acks, _) in enumerate((first, second), 1):
            by_offset = {each["offset"]: each["data"] for each in third[1]}
            assert [by_offset[ack["offset"]] for ack in acks] == [
                [sender, ref] for ref in range(count)
            ]
        for client in (one, two, three):
            await client.receive_nothing(0.05)


async def test_topics_do_not_hear_each_other(
    server: Server, token: str, join: Join, name: str
) -> None:
    async with (
        join(server, f"broadcast/{name}/", token) as one,
        join(server, f"broadcast/{name}.x/", token) as other,
    ):
        await publish(one, 1)
        await other.receive_nothing(0.1)


async def test_what_is_published_over_rest_has_to_fit_into_one_message(
    server: Server, token: str, join: Join, name: str
) -> None:
    url = f"{server.http}/api/topics/broadcast:{name}/publications/"
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        join(server, f"broadcast/{name}/", token) as client,
        httpx.AsyncClient(headers=headers, timeout=30) as http,
    ):
        limit = 1024 * 1024
        refused = await http.post(url, json={"data": "x" * limit})
        assert refused.json()["code"] == "message_too_big"
        accepted = await http.post(url, json={"data": "x" * (limit - 4096)})
        assert accepted.status_code == 201
        publication = await client.receive()
        assert (publication["offset"], len(publication["data"])) == (1, limit - 4096)
        await client.send({"type": "history", "ref": "h", "after": 0})
        assert (await client.receive())["publications"] == [publication]


# Ids


async def test_a_repeated_id_is_published_once_and_gets_the_first_position(
    server: Server, token: str, join: Join, name: str
) -> None:
    async with join(server, f"broadcast/{name}/", token) as client:
        long = "ü" * 64
        first = await publish(client, "first", id=long)
        await publish(client, "between")
        again = await publish(client, "other data", id=long)
        assert (first["offset"], first["duplicate"]) == (1, False)
        assert again == {**first, "duplicate": True}
        async with join(server, f"broadcast/{name}/?subscribe=0", token) as other_session:
            assert await publish(other_session, "again", id=long) == again
        assert (await publish(client, "last"))["offset"] == 3
    async with join(server, f"broadcast/{name}/?history=9", token) as client:
        data = [(await client.receive())["data"] for _ in range(3)]
        assert data == ["first", "between", "last"]


async def test_an_id_repeated_within_one_burst_is_published_once(
    server: Server, token: str, join: Join, name: str
) -> None:
    async with join(server, f"broadcast/{name}/?subscribe=0", token) as client:
        for ref in range(6):
            await client.send({"type": "publish", "data": ref, "ref": ref, "id": f"{ref % 2}"})
        acks = [await client.receive() for _ in range(6)]
        assert [ack["ref"] for ack in acks] == list(range(6))
        assert [ack["offset"] for ack in acks] == [1, 2, 1, 2, 1, 2]
        assert [ack["duplicate"] for ack in acks] == [False, False, True, True, True, True]


async def test_an_id_belongs_to_one_user_on_one_topic(
    special: Server, people: dict[str, str], join: Join, name: str
) -> None:
    paths = [f"broadcast/{name}/?subscribe=0", f"broadcast/{name}.x/?subscribe=0"]
    for path, user, position in [
        (paths[0], "anna", (1, False)),
        (paths[0], "boris", (2, False)),
        (paths[1], "anna", (1, False)),
        (paths[0], "anna", (1, True)),
        (paths[0], "boris", (2, True)),
    ]:
        async with join(special, path, people[user]) as client:
            ack = await publish(client, user, id="same")
            assert (ack["offset"], ack["duplicate"]) == position


# Without history


async def test_without_history_positions_are_null_and_an_id_has_no_effect(
    special: Server, people: dict[str, str], join: Join, name: str
) -> None:
    async with join(special, f"{FLEETING}/{name}/", people["anna"]) as client:
        assert client.subscribed == {
            "type": "subscribed",
            "topic": f"{FLEETING}:{name}",
            "epoch": None,
            "offset": None,
            "next": None,
            "recovered": None,
        }
        for data in (1, 2):
            await client.send({"type": "publish", "data": data, "ref": data, "id": "same"})
        messages = [await client.receive() for _ in range(4)]
        acks = [message for message in messages if message["type"] == "ack"]
        publications = [message for message in messages if message["type"] == "publication"]
        assert [(ack["ref"], ack["offset"], ack["epoch"], ack["duplicate"]) for ack in acks] == [
            (1, None, None, False),
            (2, None, None, False),
        ]
        assert [(each["data"], each["offset"]) for each in publications] == [(1, None), (2, None)]
        await client.receive_nothing(0.1)
        await client.send({"type": "history", "after": 0, "ref": "h"})
        error = await client.receive()
        assert (error["code"], error["ref"]) == ("not_supported", "h")


@pytest.mark.parametrize("query", ["epoch=x&offset=0", "epoch=x&offset=7", "history=5"])
async def test_without_history_nothing_is_recovered_and_no_gap_is_told(
    special: Server, people: dict[str, str], join: Join, name: str, query: str
) -> None:
    async with join(special, f"{FLEETING}/{name}/?subscribe=0", people["anna"]) as publisher:
        await publish(publisher, "before")
        async with join(special, f"{FLEETING}/{name}/?{query}", people["boris"]) as client:
            assert client.subscribed is not None
            recovered = client.subscribed["recovered"]
            assert recovered is (False if "epoch" in query else None)
            assert client.subscribed["next"] is None
            await client.receive_nothing(0.1)
            await publish(publisher, "after")
            assert (await client.receive())["data"] == "after"


async def test_without_history_whoever_comes_in_a_flood_hears_what_is_published_from_then_on(
    special: Server, people: dict[str, str], join: Join, name: str
) -> None:
    path = f"{FLEETING}/{name}/"

    async def flood(publisher: Session) -> None:
        while True:
            await publisher.send({"type": "publish", "data": 1})
            await asyncio.sleep(0.003)

    async with join(special, f"{path}?subscribe=0", people["anna"]) as publisher:
        flooding = asyncio.create_task(flood(publisher))
        try:
            for _ in range(30):
                async with join(special, path, people["boris"]) as client:
                    assert (await client.receive())["type"] == "publication"
        finally:
            flooding.cancel()
