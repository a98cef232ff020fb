"""What a client can do wrong, and what it hears, on a real daphne: sections 4 and 7."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.clients import Client, open_client
from tests.consumers.conftest import Join
from tests.servers import Project, Server, start_server

PATH = "broadcast/errors/?subscribe=0"
MAX_TEXT_BYTES = 65_536


async def expect_error(client: Client, message: Any, code: str, ref: Any = None) -> str:
    """Send what is wrong; the detail of the error. The session has to live on."""
    await client.send(message)
    error = await client.receive()
    assert error == {"type": "error", "ref": ref, "code": code, "detail": error.get("detail")}
    assert "Traceback" not in error["detail"]
    await client.send({"type": "ping", "ref": "alive"})
    assert (await client.receive())["type"] == "pong"
    detail: str = error["detail"]
    return detail


# Strict JSON


def nest(depth: int) -> str:
    """An object with that many levels, itself included."""
    return '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        " ",
        "hello",
        "null",
        "3",
        '"text"',
        "[]",
        '[{"type": "ping"}]',
        "{",
        '{"a": 1} {"a": 1}',
        '{"a": 1},',
        "{'a': 1}",
        '{"a": 1,}',
        "{a: 1}",
        '{"a": 01}',
        '{"a": +1}',
        '{"a": .5}',
        '{"a": 0x10}',
        '{"a": True}',
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": [-Infinity]}',
        '{"a": 1e400}',
        '{"a": -1e400}',
        '{"a": 1, "a": 1}',
        '{"type": "ping", "ref": 1, "type": "ping"}',
        '{"a": {"b": 1, "\\u0062": 2}}',
        '{"a": 9223372036854775809}',
        '{"a": -9223372036854775809}',
        pytest.param('{"a": ' + "9" * 5000 + "}", id="5,000 digits"),
        pytest.param('{"a": 1e' + "9" * 5000 + "}", id="an exponent of 5,000 digits"),
        '{"a": "\\ud800"}',
        '{"a": "\\udc00\\ud800"}',
        '{"\\ud800": 1}',
        '{"a": "\\x41"}',
        '{"a": "\\u12"}',
        '{"a": "\\"}',
        '{"a": "\n"}',
        pytest.param('{"a": "\x00"}', id="a bare null character"),
        '\ufeff{"a": 1}',
        '\u00a0{"a": 1}',
        pytest.param(nest(33), id="33 levels"),
        pytest.param(nest(30_000), id="30,000 levels"),
        pytest.param('{"a":' + "[" * 60_000, id="60,000 open brackets"),
        pytest.param('{"a":' * 13_000, id="13,000 open braces"),
    ],
)
async def test_what_is_not_strict_json_is_refused_and_the_session_lives(
    server: Server, token: str, join: Join, text: str
) -> None:
    async with join(server, PATH, token) as client:
        await expect_error(client, text, "invalid_json")


async def test_nesting_of_100_000_is_refused_where_so_long_a_text_is_taken(
    special: Server, people: dict[str, str], join: Join
) -> None:
    async with join(special, PATH, people["anna"]) as client:
        for text in (nest(100_000), '{"a":' + "[" * 100_000):
            assert "nesting" in await expect_error(client, text, "invalid_json")


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        nest(32),
        '{"a": [9223372036854775808, -9223372036854775808, 1e308, -0.0]}',
        '{"a": "\\ud83c\\udf89 \\u0000 \\\\ud800", "": ""}',
        '\t\r\n {"a" : 1 } ',
    ],
)
async def test_strict_json_up_to_its_limits_comes_back_as_it_was_sent(
    server: Server, token: str, join: Join, name: str, text: str
) -> None:
    async with join(server, f"broadcast/{name}/", token) as client:
        await client.send(text)
        assert (await client.receive())["data"] == json.loads(text)


# Messages


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"type": "shout", "ref": 1}, "$.type"),
        ({"type": "", "ref": 1}, "$.type"),
        ({"type": "hello", "ref": 1}, "$.type"),  # the server's own
        ({"type": 3, "ref": 1}, "type"),
        ({"type": None, "ref": 1}, "type"),
        ({"type": ["ping"], "ref": 1}, "type"),
        ({"type": "ping", "ref": 1, "colour": "red"}, "colour"),
        ({"type": "publish", "ref": 1, "data": 1, "topic": "broadcast:x"}, "topic"),
        ({"type": "publish", "ref": 1}, "data"),
        ({"type": "publish", "ref": 1, "data": 1, "id": 5}, "$.id"),
        ({"type": "publish", "ref": 1, "data": 1, "id": ""}, "$.id"),
        ({"type": "publish", "ref": 1, "data": 1, "id": "x" * 65}, "$.id"),
        ({"type": "refresh", "ref": 1}, "token"),
        ({"type": "refresh", "ref": 1, "token": None}, "$.token"),
        ({"type": "history", "ref": 1, "after": -1}, "$.after"),
        ({"type": "history", "ref": 1, "after": "0"}, "$.after"),
        ({"type": "history", "ref": 1, "after": 0.5}, "$.after"),
        ({"type": "history", "ref": 1, "after": 0, "limit": 0}, "$.limit"),
        ({"type": "history", "ref": 1, "after": 0, "limit": 1001}, "$.limit"),
        ({"type": "history", "ref": 1, "after": 0, "epoch": 7}, "$.epoch"),
        ({"type": "binary", "ref": 1, "chunks": 0}, "$.chunks"),
        ({"type": "request", "ref": 1, "shape": ["a"]}, "$.shape[0]"),
    ],
)
async def test_a_message_that_is_none_of_the_protocol_is_refused_with_its_ref(
    server: Server, token: str, join: Join, message: dict[str, Any], named: str
) -> None:
    async with join(server, PATH, token) as client:
        assert named in await expect_error(client, message, "invalid_message", ref=1)


@pytest.mark.parametrize(
    "ref", [1.0, 1.5, True, False, [], {}, "x" * 65, 2**53 + 1, -(2**53) - 1, 2**63]
)
async def test_a_bad_ref_is_refused_and_not_echoed(
    server: Server, token: str, join: Join, ref: Any
) -> None:
    async with join(server, PATH, token) as client:
        message = {"type": "ping", "ref": ref}
        assert "ref" in await expect_error(client, message, "invalid_message", ref=None)


@pytest.mark.parametrize("ref", ["", "x" * 64, "ü" * 64, "1", 0, -1, 2**53, -(2**53), None])
async def test_a_good_ref_is_echoed_as_it_came(
    server: Server, token: str, join: Join, ref: Any
) -> None:
    async with join(server, PATH, token) as client:
        await client.send({"type": "ping", "ref": ref})
        pong = await client.receive()
        assert (pong["type"], pong["ref"]) == ("pong", ref)
        assert type(pong["ref"]) is type(ref)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00\x01",
        {"type": "binary", "chunks": 1, "ref": "r"},
        {"type": "request", "shape": [2], "dtype": "float64", "source": "random", "ref": "r"},
        {"type": "authenticate", "token": "x", "ref": "r"},
    ],
)
async def test_what_a_broadcast_topic_does_not_do_is_not_supported(
    server: Server, token: str, join: Join, message: Any
) -> None:
    async with join(server, PATH, token) as client:
        ref = "r" if isinstance(message, dict) else None
        await expect_error(client, message, "not_supported", ref=ref)


async def test_a_processor_may_change_refuse_or_fail(
    special: Server, people: dict[str, str], join: Join, name: str
) -> None:
    async with join(special, f"polite/{name}/", people["anna"]) as client:
        await client.send({"type": "publish", "data": "hi"})
        said = {"said": "hi", "by": "anna", "in": f"polite:{name}"}
        assert (await client.receive())["data"] == said
        rude = {"type": "publish", "data": "rude", "ref": 1}
        assert await expect_error(client, rude, "rejected", ref=1) == "be kind"
        odd = {"type": "publish", "data": "odd", "ref": 2}
        assert "secret" not in await expect_error(client, odd, "internal", ref=2)


# Too long


async def test_a_text_is_bounded_in_bytes_and_a_longer_one_closes_with_1009(
    server: Server, token: str, join: Join, name: str
) -> None:
    frame = '{"v": ""}'
    async with join(server, f"broadcast/{name}/", token) as client:
        limit = client.hello["limits"]["max_text_bytes"]
        assert limit == MAX_TEXT_BYTES
        await client.send(frame.replace('""', '"' + "x" * (limit - len(frame)) + '"'))
        assert len((await client.receive())["data"]["v"]) == limit - len(frame)
    for filling in ("x" * (MAX_TEXT_BYTES - len(frame) + 1), "ü" * (MAX_TEXT_BYTES // 2)):
        async with join(server, PATH, token) as client:
            await client.send(frame.replace('""', f'"{filling}"'))
            assert await client.wait_closed() == (1009, [])
            # Stock daphne cannot send 1009.
            assert client.connection.close_code == (1009 if server.kind == "serve" else 3009)


# Too often


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ({"type": "shout"}, "invalid_message"),
        (b"x", "not_supported"),
        ({"type": "refresh", "token": "x"}, "invalid_token"),
    ],
)
async def test_twenty_mistakes_a_minute_are_forgiven_and_the_next_is_not(
    server: Server, token: str, join: Join, message: Any, code: str
) -> None:
    async with join(server, PATH, token) as client:
        for _ in range(19):
            await client.send(message)
            assert (await client.receive())["code"] == code
        await expect_error(client, message, code)
        await client.send(message)
        await client.send({"type": "ping", "ref": "too late"})
        closed_with, (error,) = await client.wait_closed()
        assert (closed_with, error["code"]) == (4500, code)


async def test_mistakes_of_different_kinds_add_up(server: Server, token: str, join: Join) -> None:
    async with join(server, PATH, token) as client:
        for _ in range(10):
            await client.send("{")
            await client.send({"type": "shout"})
        await client.send(b"x")
        code, errors = await client.wait_closed()
        assert (code, len(errors)) == (4500, 21)


@pytest.fixture(scope="module")
def slow_intake(special_project: Project) -> Iterator[Server]:
    """A server that takes one message a second from each user, or else address."""
    server = start_server(special_project.with_environment(REALTIME_MESSAGES_PER_SECOND="1"))
    yield server
    server.stop()


async def flood(client: Client, count: int) -> None:
    """Send that many pings, or as many as the server still takes."""
    try:
        for ref in range(count):
            await client.send({"type": "ping", "ref": ref})
    except ConnectionClosed:
        return


async def count_pongs(*clients: Client) -> int:
    """Send two pings each, as many as an allowance holds; how many are answered by a pong."""
    for client in clients:
        await flood(client, 2)
    replies = [await client.receive() for client in clients for _ in range(2)]
    assert {reply.get("code", "pong") for reply in replies} <= {"pong", "rate_limited"}
    return [reply["type"] for reply in replies].count("pong")


async def test_more_than_100_rate_limited_errors_close_with_4003(
    slow_intake: Server, people: dict[str, str], join: Join
) -> None:
    errors = 0
    async with join(slow_intake, PATH, people["anna"]) as client:
        while errors < 100:
            await client.send({"type": "ping", "ref": errors})
            reply = await client.receive()
            if reply["type"] == "error":
                assert (reply["code"], reply["ref"]) == ("rate_limited", errors)
                errors += 1
        await asyncio.sleep(1.05)
        await client.send({"type": "ping", "ref": "alive"})
        assert (await client.receive())["type"] == "pong"
        began = time.monotonic()
        await flood(client, 10)
        code, rest = await client.wait_closed()
        assert code == 4003
        assert [reply["type"] for reply in rest].count("error") == 1
    async with join(slow_intake, PATH, people["anna"]) as client:
        # Nothing was refilled but what the time since then has brought.
        assert await count_pongs(client) < 1 + time.monotonic() - began
    async with join(slow_intake, PATH, people["boris"]) as client:
        assert await count_pongs(client) == 2


async def test_sessions_of_an_address_share_what_anonymous_ones_may_send(
    slow_intake: Server, join: Join
) -> None:
    async with join(slow_intake, "open/x/", None) as one, join(slow_intake, "open/x/", None) as two:
        began = time.monotonic()
        assert 2 <= await count_pongs(one, two) <= 2 + time.monotonic() - began


async def test_a_rate_limited_publish_is_not_published(
    slow_intake: Server, people: dict[str, str], name: str
) -> None:
    async with open_client(f"{slow_intake.ws}/ws/open/{name}/", people["vera"]) as client:
        for value in range(10):
            await client.send({"type": "publish", "data": value, "ref": value})
        refused, published = set(), set()
        while len(refused) + len(published) < 10:
            message = await client.receive()
            if message["type"] == "error":
                refused.add(message["ref"])
            elif message["type"] == "publication":
                published.add(message["data"])
        assert refused
        assert refused | published == set(range(10))
        assert not refused & published
