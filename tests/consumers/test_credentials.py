"""Who a session belongs to, and for how long, on a real daphne: section 2 of the protocol."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx
import jwt
import pytest
from websockets.exceptions import ConnectionClosed

from tests.clients import Client, open_client
from tests.consumers.conftest import (
    AUTHENTICATION_TIMEOUT,
    EXPIRY_GRACE,
    PASSWORD,
    Join,
    Remake,
)
from tests.servers import Project, Server

REQUIRED = "authentication_required"
PATIENCE = 30.0  # seconds, with what is only slow


def bearer(token: str) -> str:
    return f"realtime.bearer.{token}"


def authenticate(token: str, **more: Any) -> dict[str, Any]:
    return {"type": "authenticate", "token": token, **more}


def refresh(token: str, ref: int = 1) -> dict[str, Any]:
    return {"type": "refresh", "token": token, "ref": ref}


def format_expiry(token: str) -> str:
    exp = jwt.decode(token, options={"verify_signature": False})["exp"]
    return datetime.fromtimestamp(exp, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")


@pytest.fixture
def url(server: Server) -> str:
    return f"{server.ws}/ws/broadcast/credentials/"


@pytest.fixture
def bad_tokens(project: Project, token: str, remake: Remake) -> dict[str, str]:
    """Tokens that differ from a good one in a single point."""
    header, payload, signature = token.split(".")
    return {
        "garbage": "garbage",
        "other signature": f"{header}.{payload}.{signature[::-1]}",
        "no signature": jwt.encode(
            jwt.decode(token, options={"verify_signature": False}), None, "none"
        ),
        "refresh token": remake(project, token, token_type="refresh"),
        "other audience": remake(project, token, aud="elsewhere"),
        "other issuer": remake(project, token, iss="elsewhere"),
        "other sign-in": remake(project, token, sid="00000000-0000-4000-8000-000000000000"),
        "other version": remake(project, token, ver=7),
        "expired and of another audience": remake(project, token, exp=1, aud="elsewhere"),
    }


# The three credentials


@pytest.mark.parametrize("foreign", ["Basic YTpi", 'Digest username="a, b"', "Negotiate YII="])
async def test_another_scheme_in_the_header_leaves_the_other_credentials_their_turn(
    url: str, token: str, foreign: str
) -> None:
    headers = {"Authorization": foreign}
    offered = ["realtime.v1", bearer(token)]
    async with open_client(url, subprotocols=offered, additional_headers=headers) as client:
        assert (await client.receive_type("hello"))["user"] == "anna"
    async with open_client(url, additional_headers=headers) as client:
        await client.send(authenticate(token))
        assert (await client.receive_type("hello"))["user"] == "anna"
    async with open_client(url, additional_headers=headers) as client:
        await client.send({"type": "ping"})  # no credential either
        code, [error] = await client.wait_closed()
        assert (code, error["code"]) == (4501, "authentication_required")


async def test_a_header_signs_in(url: str, token: str) -> None:
    async with open_client(url, token) as client:
        hello = await client.receive_type("hello")
        assert (hello["user"], hello["expires_at"]) == ("anna", format_expiry(token))


@pytest.mark.parametrize("order", [1, -1])
async def test_a_subprotocol_signs_in_and_is_never_echoed(url: str, token: str, order: int) -> None:
    offered = ["realtime.v1", bearer(token)][::order]
    async with open_client(url, subprotocols=offered) as client:
        assert (await client.receive())["user"] == "anna"
        assert client.connection.subprotocol == "realtime.v1"
        assert client.connection.response is not None
        assert token not in str(client.connection.response.headers)


async def test_a_bearer_subprotocol_alone_is_not_selected(url: str, token: str) -> None:
    async with open_client(url, subprotocols=[bearer(token)]) as client:
        assert (await client.receive())["user"] == "anna"
        assert client.connection.subprotocol is None


async def test_a_first_message_signs_in_and_others_may_follow_at_once(url: str, token: str) -> None:
    async with open_client(url) as client:
        await client.send(authenticate(token, ref="a"))
        await client.send({"type": "ping", "ref": 1})
        hello = await client.receive()
        assert (hello["type"], hello["user"]) == ("hello", "anna")
        assert (await client.receive())["type"] == "subscribed"
        assert (await client.receive())["type"] == "pong"


async def test_echo_takes_the_first_two(server: Server, token: str) -> None:
    async with open_client(f"{server.ws}/ws/echo/", subprotocols=[bearer(token)]) as client:
        await client.send(authenticate("x"))
        assert await client.receive() == authenticate("x")


# Which one counts


@pytest.mark.parametrize("fault", ["garbage", "refresh token"])
async def test_a_bad_header_is_not_passed_over_for_a_good_subprotocol(
    url: str, token: str, bad_tokens: dict[str, str], fault: str
) -> None:
    async with open_client(url, bad_tokens[fault], subprotocols=[bearer(token)]) as client:
        assert await client.wait_closed() == (4502, [])


async def test_a_good_header_counts_before_a_bad_subprotocol(url: str, token: str) -> None:
    async with open_client(url, token, subprotocols=[bearer("bad")]) as client:
        assert (await client.receive())["user"] == "anna"


async def test_a_bad_subprotocol_is_not_passed_over_for_a_first_message(
    url: str, token: str
) -> None:
    for bad in ("bad", ""):
        async with open_client(url, subprotocols=["realtime.v1", bearer(bad)]) as client:
            assert await client.wait_closed() == (4502, [])


# Bad ones


async def test_a_token_with_any_fault_is_closed_with_4502(
    url: str, bad_tokens: dict[str, str]
) -> None:
    for fault, bad in bad_tokens.items():
        async with open_client(url, bad) as client:
            assert await client.wait_closed() == (4502, []), fault
        async with open_client(url) as client:
            await client.send(authenticate(bad))
            assert await client.wait_closed() == (4502, []), fault


async def test_a_token_that_only_expired_is_closed_with_4001(
    url: str, project: Project, token: str, remake: Remake
) -> None:
    expired = remake(project, token, exp=int(time.time()) - 1)
    async with open_client(url, expired) as client:
        assert await client.wait_closed() == (4001, [])
    async with open_client(url, subprotocols=[bearer(expired)]) as client:
        assert await client.wait_closed() == (4001, [])
    async with open_client(url) as client:
        await client.send(authenticate(expired))
        assert await client.wait_closed() == (4001, [])


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b'{"type": "authenticate", "token": "x"}',
        "",
        "hello",
        "[]",
        {"value": 1},
        {"type": "publish", "data": 1},
        {"type": "refresh", "token": "x"},
        {"type": "authenticate"},
        {"type": "authenticate", "token": 1},
        {"type": "authenticate", "token": "x", "user": "anna"},
        '{"type": "authenticate", "token": "x", "token": "x"}',
    ],
)
async def test_any_other_first_message_is_refused(url: str, message: Any) -> None:
    async with open_client(url) as client:
        await client.send(message)
        code, (error,) = await client.wait_closed()
        assert code == 4501
        assert (error["type"], error["code"], error["ref"]) == ("error", REQUIRED, None)


async def test_a_first_message_has_up_to_8_kib(url: str, token: str) -> None:
    async with open_client(url) as client:
        await client.send(json.dumps(authenticate(token)).ljust(8192))
        assert (await client.receive())["type"] == "hello"
    for message in (
        json.dumps(authenticate(token)).ljust(8193),
        json.dumps(authenticate("ü" * 4096), ensure_ascii=False),
        b"x" * 8193,
    ):
        async with open_client(url) as client:
            await client.send(message)
            assert await client.wait_closed() == (1009, [])


async def test_no_first_message_in_time_is_closed_without_a_word(special: Server) -> None:
    began = time.monotonic()
    async with open_client(f"{special.ws}/ws/broadcast/x/") as client:
        assert await client.wait_closed() == (4501, [])
    assert time.monotonic() - began >= AUTHENTICATION_TIMEOUT - 0.01


# Expiry and refresh


async def test_an_expired_session_works_on_for_the_grace_then_ends(
    special: Server, special_project: Project, people: dict[str, str], join: Join, remake: Remake
) -> None:
    """And a refresh moves that moment, sooner or later; a bad one does not."""
    exp = int(time.time()) + 5  # until then all four have begun
    long = people["anna"]
    short = remake(special_project, long, exp=exp)
    path = "broadcast/expiry/"

    async def check_end(client: Client) -> None:
        await asyncio.sleep(exp + 0.1 - time.time())
        await client.send({"type": "ping", "ref": 1})
        assert (await client.receive())["type"] == "pong"
        assert await client.wait_closed() == (4001, [])
        assert exp + EXPIRY_GRACE - 0.1 <= time.time() < exp + EXPIRY_GRACE + 10

    async def expire() -> None:
        async with join(special, path, short) as client:
            await check_end(client)

    async def refresh_later() -> None:
        async with join(special, path, short) as client:
            await client.send(refresh(long))
            assert await client.receive() == {
                "type": "refreshed",
                "ref": 1,
                "expires_at": format_expiry(long),
            }
            await asyncio.sleep(exp + EXPIRY_GRACE + 0.4 - time.time())
            await client.send({"type": "ping", "ref": 1})
            assert (await client.receive())["type"] == "pong"

    async def refresh_sooner() -> None:
        async with open_client(f"{special.ws}/ws/{path}") as client:
            await client.send(authenticate(long))
            await client.receive_type("subscribed")
            await client.send(refresh(short))
            assert (await client.receive())["expires_at"] == format_expiry(short)
            await check_end(client)

    async def refresh_badly() -> None:
        async with join(special, path, short) as client:
            await client.send(refresh("bad"))
            assert (await client.receive())["code"] == "invalid_token"
            await check_end(client)

    await asyncio.gather(expire(), refresh_later(), refresh_sooner(), refresh_badly())


async def test_a_bad_refresh_is_answered_and_the_session_lives(
    server: Server, project: Project, token: str, bad_tokens: dict[str, str], remake: Remake,
    join: Join,
) -> None:  # fmt: skip
    bad_tokens["expired"] = remake(project, token, exp=1)
    async with join(server, "broadcast/x/", token) as client:
        for ref, (fault, bad) in enumerate(bad_tokens.items()):
            await client.send(refresh(bad, ref))
            error = await client.receive()
            assert (error["code"], error["ref"]) == ("invalid_token", ref), fault
            assert bad not in error["detail"]
        await client.send(refresh(token))
        assert (await client.receive())["type"] == "refreshed"


async def test_a_refresh_takes_no_other_user_and_none_who_was_deactivated(
    special: Server, special_project: Project, people: dict[str, str], join: Join
) -> None:
    async with join(special, "broadcast/x/", people["igor"]) as client:
        await client.send(refresh(people["boris"]))
        assert (await client.receive())["code"] == "invalid_token"
        await client.send(refresh(people["igor"]))
        assert (await client.receive())["type"] == "refreshed"
        database = sqlite3.connect(special_project.folder / "db.sqlite3", timeout=PATIENCE)
        database.execute("UPDATE accounts_user SET is_active = 0 WHERE username = 'igor'")
        database.commit()
        database.close()
        await client.send(refresh(people["igor"]))
        assert (await client.receive())["code"] == "invalid_token"
    async with open_client(f"{special.ws}/ws/broadcast/x/", people["igor"]) as client:
        assert await client.wait_closed() == (4502, [])


async def test_a_late_authenticate_is_not_supported(server: Server, token: str, join: Join) -> None:
    async with join(server, "broadcast/x/", token) as client:
        await client.send(authenticate(token, ref="late"))
        error = await client.receive()
        assert (error["code"], error["ref"]) == ("not_supported", "late")
        await client.send(refresh(token))
        assert (await client.receive())["type"] == "refreshed"


# Revocation


@pytest.fixture
def sign_in(special: Server, people: dict[str, str]) -> Callable[[], dict[str, str]]:
    """Signs anna in over REST; returns `access` and `refresh`."""

    def sign_in() -> dict[str, str]:
        body = {"username": "anna", "password": PASSWORD}
        url = f"{special.http}/api/token/"
        pair: dict[str, str] = httpx.post(url, json=body, timeout=PATIENCE).json()
        return pair

    return sign_in


async def revoke(server: Server, refresh_token: str) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        url = f"{server.http}/api/token/revoke/"
        (await http.post(url, json={"refresh": refresh_token})).raise_for_status()


async def test_signing_out_ends_the_sessions_of_that_sign_in_and_no_others(
    special: Server, sign_in: Callable[[], dict[str, str]], join: Join
) -> None:
    gone, kept = sign_in(), sign_in()
    path, echo = "broadcast/x/", f"{special.ws}/ws/echo/"
    async with (
        join(special, path, gone["access"]) as first,
        open_client(echo, gone["access"]) as second,
        join(special, path, kept["access"]) as other,
    ):
        await second.send("hello")
        assert await second.connection.recv() == "hello"
        await revoke(special, gone["refresh"])
        assert await first.wait_closed() == (4505, [])
        assert await second.wait_closed() == (4505, [])
        await other.send(refresh(gone["access"]))
        assert (await other.receive())["code"] == "invalid_token"
    async with open_client(echo, gone["access"]) as client:
        assert await client.wait_closed() == (4502, [])


async def test_after_a_refresh_a_session_belongs_to_the_new_tokens_sign_in(
    special: Server, sign_in: Callable[[], dict[str, str]], join: Join
) -> None:
    old, new = sign_in(), sign_in()
    async with join(special, "broadcast/x/", old["access"]) as client:
        await client.send(refresh(new["access"]))
        assert (await client.receive())["type"] == "refreshed"
        await revoke(special, old["refresh"])
        await client.send({"type": "ping", "ref": 1})
        assert (await client.receive())["type"] == "pong"
        await revoke(special, new["refresh"])
        assert await client.wait_closed() == (4505, [])


# The log


async def read_log(server: Server, expected: str) -> str:
    """The log once it holds that text, which may take a moment."""
    async with asyncio.timeout(PATIENCE):
        while expected not in (log := server.read_log()):
            await asyncio.sleep(0.02)
    return log


async def test_the_log_holds_no_token_however_it_came(
    special: Server, people: dict[str, str]
) -> None:
    token = people["boris"]
    bad = token[:-4] + "AAAA"
    url = f"{special.ws}/ws/broadcast/logged/"
    for query in ("", f"?token={token}", f"?bearer={token}", f"?{token}", f"?epoch={token}"):
        for header, subprotocols, message in [
            (token, None, refresh(token)),
            (token, None, authenticate(bad)),
            (bad, None, ""),
            (None, ["realtime.v1", bearer(token)], refresh(bad)),
            (None, ["realtime.v1", bearer(bad)], ""),
            (None, None, authenticate(token)),
            (None, None, authenticate(bad)),
            (None, None, "{" + token),
            (None, None, token.encode()),
        ]:
            async with open_client(url + query, header, subprotocols=subprotocols) as client:
                with suppress(ConnectionClosed):
                    await client.send(message)
                    await client.receive()
    async with open_client(f"{special.ws}/ws/last-of-the-log-test/") as client:
        await client.wait_closed()
    log = await read_log(special, "topic=last-of-the-log-test")
    assert '"WSCONNECT /ws/broadcast/logged/"' in log  # daphne's access log
    assert "session opened" in log
    assert "session closed" in log
    for part in token.split("."):
        assert part not in log


async def test_a_path_cannot_forge_a_line_of_the_log(special: Server) -> None:
    async with open_client(f"{special.ws}/ws/a%0Aforged%1B[2J%E2%80%A8line/x/") as client:
        assert await client.wait_closed() == (4504, [])
    log = await read_log(special, "topic=a%0Aforged")
    assert "\nforged" not in log
    assert "\x1b" not in log
