"""From a socket to a session, on a real daphne: origins, paths, parameters, policies, limits."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.clients import open_client
from tests.consumers.conftest import Join
from tests.servers import Project, Server, start_server

PUBLICATION = {"type": "publish", "data": 1, "ref": "r"}


async def get_refusal(url: str, token: str | None = None, **options: Any) -> tuple[int, list[Any]]:
    """Connect; the close code and the messages before it."""
    async with open_client(url, token, **options) as client:
        return await client.wait_closed()


async def open_origin(server: Server, origin: str, path: str = "/ws/broadcast/lobby/") -> int:
    """Connect from a page; the HTTP status, 101 where the socket was accepted."""
    try:
        async with open_client(f"{server.ws}{path}", origin=origin) as client:
            assert client.connection.response is not None
            return client.connection.response.status_code
    except InvalidStatus as error:
        return error.response.status_code


# Origin


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://127.0.0.1", "null", "https://app.example.org.evil.example"],
)
async def test_a_foreign_origin_gets_403_whatever_the_path(special: Server, origin: str) -> None:
    assert await open_origin(special, origin) == 403
    assert await open_origin(special, origin, "/ws/nowhere/") == 403


@pytest.mark.parametrize("origin", ["https://app.example.org", "https://deep.app.example.net"])
async def test_an_origin_on_the_list_may_connect(special: Server, origin: str) -> None:
    assert await open_origin(special, origin) == 101


async def test_the_own_host_may_connect_as_an_origin(server: Server) -> None:
    assert await open_origin(server, server.http) == 101
    assert await open_origin(server, f"http://localhost:{server.port}") == 403  # not the Host sent


# Path


@pytest.mark.parametrize(
    "path",
    [
        "/ws/",
        "/ws/broadcast/",
        "/ws/broadcast/lobby",
        "/ws/broadcast/a/b/",
        "/ws/broadcast/a%2Fb/",
        "/ws/broadcast/lobby%0A/",
        "/ws/broadcast/l%C3%B6bby/",
        "/ws/broadcast/%D9%A3/",  # a digit, but no ASCII one
        "/ws/broadcast/%FF/",
        f"/ws/broadcast/{'a' * 65}/",
        "/ws/Broadcast/lobby/",
        "/ws/nowhere/lobby/",
        "/ws/1st/lobby/",
        "/ws/echo",
        "/ws/echo/more/",
        "/ws/nowhere/lobby/?token=x&odd=1",  # the path comes first
    ],
)
async def test_an_unknown_path_is_closed_with_4504(server: Server, path: str) -> None:
    assert await get_refusal(server.ws + path) == (4504, [])


@pytest.mark.parametrize("name", ["a", "A-Z_0.9", "." * 64])
async def test_a_name_in_full_ascii_is_a_topic(
    server: Server, token: str, join: Join, name: str
) -> None:
    async with join(server, f"broadcast/{name}/", token) as client:
        assert client.subscribed is not None
        assert client.subscribed["topic"] == f"broadcast:{name}"


async def test_outside_ws_no_websocket_is_spoken(server: Server, token: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await get_refusal(f"{server.ws}/elsewhere/", token)
    assert caught.value.response.status_code == 403


# Query


@pytest.mark.parametrize("path", ["broadcast/lobby", "stats/x", "arrays/x", "echo"])
@pytest.mark.parametrize("parameter", ["token", "access_token", "jwt"])
async def test_a_token_in_the_query_is_refused_even_beside_a_good_one(
    server: Server, token: str, path: str, parameter: str
) -> None:
    url = f"{server.ws}/ws/{path}/?odd=1&{parameter}={token}"
    code, (error,) = await get_refusal(url, token)
    assert code == 4502
    assert error == {
        "type": "error",
        "ref": None,
        "code": "token_in_query",
        "detail": error["detail"],
    }
    assert token not in error["detail"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("colour=red", "colour"),
        ("colour", "colour"),
        ("Token=x", "Token"),
        ("window=10", "window"),  # of another kind
        ("interval=1", "interval"),
        ("epoch=e", "offset"),
        ("offset=3", "epoch"),
        ("epoch=&offset=3", "epoch"),
        ("epoch=e&offset=-1", "offset"),
        ("epoch=e&offset=1.0", "offset"),
        ("epoch=e&offset=%D9%A3", "offset"),
        ("epoch=e&offset=1%0A", "offset"),
        ("history=many", "history"),
        ("history=", "history"),
        ("history=1&history=1", "history"),
        ("subscribe=no", "subscribe"),
        ("subscribe=0&epoch=e&offset=0", "epoch"),
        ("subscribe=0&history=5", "history"),
    ],
)
async def test_a_bad_parameter_is_named_before_any_credential_is_looked_at(
    server: Server, query: str, named: str
) -> None:
    code, (error,) = await get_refusal(f"{server.ws}/ws/broadcast/lobby/?{query}", "no token")
    assert code == 4500
    assert (error["code"], error["ref"]) == ("invalid_parameter", None)
    assert named in error["detail"]


async def test_echo_takes_no_parameters(server: Server, token: str) -> None:
    code, (error,) = await get_refusal(f"{server.ws}/ws/echo/?history=1", token)
    assert (code, error["code"]) == (4500, "invalid_parameter")
    assert "history" in error["detail"]


@pytest.mark.parametrize(
    ("path", "code"), [("nowhere/x/", 4504), ("broadcast/x/?token=x", 4502), ("stats/x/?odd", 4500)]
)
async def test_no_credential_is_looked_up_of_who_is_refused_before(
    special: Server, path: str, code: int
) -> None:
    """Nor of those who are over a limit of the process: that is the step before the path."""
    counted = "realtime_auth_failures_total"
    before = special.read_metric(counted, where="websocket", reason="invalid")
    assert (await get_refusal(f"{special.ws}/ws/{path}", "bad"))[0] == code
    assert special.read_metric(counted, where="websocket", reason="invalid") == before
    assert (await get_refusal(f"{special.ws}/ws/broadcast/x/", "bad"))[0] == 4502
    assert special.read_metric(counted, where="websocket", reason="invalid") == before + 1


# Subprotocol


@pytest.mark.parametrize(
    ("path", "code"), [("broadcast/lobby/", None), ("nowhere/x/", 4504), ("echo/?token=1", 4502)]
)
async def test_the_offered_protocol_is_selected_also_where_the_session_is_refused(
    server: Server, token: str, path: str, code: int | None
) -> None:
    url = f"{server.ws}/ws/{path}"
    async with open_client(url, token, subprotocols=["chat", "realtime.v1"]) as client:
        assert client.connection.subprotocol == "realtime.v1"
        if code:
            assert (await client.wait_closed())[0] == code
        else:
            assert (await client.receive())["protocol"] == "realtime.v1"


@pytest.mark.parametrize("offered", [None, ["chat"], ["realtime.v2"]])
async def test_where_the_protocol_is_not_offered_none_is_selected_and_all_is_the_same(
    server: Server, token: str, offered: list[str] | None
) -> None:
    async with open_client(f"{server.ws}/ws/broadcast/x/", token, subprotocols=offered) as client:
        assert client.connection.subprotocol is None
        assert (await client.receive())["type"] == "hello"


# Policies


async def test_where_anyone_may_a_session_without_a_credential_is_anonymous(
    special: Server, join: Join, name: str
) -> None:
    async with join(special, f"open/{name}/", None) as client:
        assert client.hello["user"] is client.hello["expires_at"] is None
        await client.send({"type": "publish", "data": 1})
        assert (await client.receive_type("publication"))["user"] is None
        for message, code in [
            ({"type": "publish", "data": 2, "id": "a", "ref": 7}, "permission_denied"),
            ({"type": "refresh", "token": "x", "ref": 7}, "invalid_token"),
            ({"type": "authenticate", "token": "x", "ref": 7}, "not_supported"),
        ]:
            await client.send(message)
            error = await client.receive()
            assert (error["code"], error["ref"]) == (code, 7)


async def test_where_anyone_may_a_credential_still_counts(
    special: Server, people: dict[str, str], join: Join, name: str
) -> None:
    async with join(special, f"open/{name}/", people["anna"]) as client:
        assert client.hello["user"] == "anna"
        await client.send({**PUBLICATION, "id": "a"})
        assert (await client.receive_type("ack"))["duplicate"] is False
    assert await get_refusal(f"{special.ws}/ws/open/{name}/", "bad") == (4502, [])


async def test_anyone_may_read_what_only_users_may_write(
    special: Server, people: dict[str, str], join: Join, name: str
) -> None:
    async with join(special, f"public/{name}/", None) as client:
        await client.send(PUBLICATION)
        error = await client.receive()
        assert (error["code"], error["ref"]) == ("permission_denied", "r")
        async with open_client(f"{special.ws}/ws/public/{name}/?subscribe=0") as publisher:
            await publisher.send({"type": "authenticate", "token": people["anna"]})
            assert (await publisher.receive())["user"] == "anna"
            await publisher.send(PUBLICATION)
            assert (await publisher.receive())["type"] == "ack"
        assert (await client.receive())["user"] == "anna"


async def test_each_publish_without_the_right_is_denied_and_the_session_lives(
    special: Server, people: dict[str, str], join: Join, name: str
) -> None:
    async with (
        join(special, f"notices/{name}/", people["anna"]) as anna,
        join(special, f"notices/{name}/", people["vera"]) as vera,
    ):
        for ref in range(25):
            await anna.send({"type": "publish", "data": "no", "ref": ref})
            error = await anna.receive()
            assert (error["code"], error["ref"]) == ("permission_denied", ref)
        await anna.send({"ref": "this is data", "value": 1})
        assert (await anna.receive())["ref"] is None
        await vera.send({"type": "publish", "data": "yes"})
        assert (await anna.receive())["data"] == "yes"


async def test_a_session_that_could_only_publish_needs_the_right_to(
    special: Server, people: dict[str, str]
) -> None:
    url = f"{special.ws}/ws/notices/x/?subscribe=0"
    assert await get_refusal(url, people["anna"]) == (4503, [])


async def test_who_may_not_subscribe_may_publish_and_read_no_history(
    special: Server, people: dict[str, str], join: Join, name: str
) -> None:
    url = f"{special.ws}/ws/secret/{name}/"
    assert await get_refusal(url, people["anna"]) == (4503, [])
    async with join(special, f"secret/{name}/?subscribe=0", people["anna"]) as anna:
        await anna.send(PUBLICATION)
        assert (await anna.receive())["type"] == "ack"
        await anna.send({"type": "history", "after": 0, "ref": "h"})
        error = await anna.receive()
        assert (error["code"], error["ref"]) == ("permission_denied", "h")
    async with join(special, f"secret/{name}/?history=1", people["vera"]) as vera:
        assert (await vera.receive())["user"] == "anna"


async def test_a_refresh_checks_the_policy_again(
    special: Server, special_project: Project, people: dict[str, str], join: Join, name: str
) -> None:
    async with join(special, f"secret/{name}/", people["ines"]) as client:
        await client.send({"type": "refresh", "token": people["ines"]})
        assert (await client.receive())["type"] == "refreshed"
        path = special_project.folder / "db.sqlite3"
        with sqlite3.connect(path, timeout=30) as database:
            database.execute("UPDATE accounts_user SET is_staff = 0 WHERE username = 'ines'")
        database.close()
        await client.send({"type": "refresh", "token": people["ines"]})
        assert await client.wait_closed() == (4503, [])


# Limits


@pytest.fixture(scope="module")
def limited(special_project: Project) -> Iterator[Server]:
    """A server that allows one connection a user, four an address."""
    project = special_project.with_environment(
        REALTIME_CONNECTIONS_PER_USER="1", REALTIME_CONNECTIONS_PER_ADDRESS="4"
    )
    server = start_server(project)
    yield server
    server.stop()


@asynccontextmanager
async def get_in(server: Server, path: str, token: str | None) -> AsyncIterator[None]:
    """A session, as soon as there is room: a client is back before its last end is noted."""
    deadline = asyncio.get_running_loop().time() + 30
    while True:
        async with open_client(f"{server.ws}/ws/{path}", token) as client:
            with suppress(ConnectionClosed):
                await client.receive_type("subscribed")
            if client.connection.close_code is None:
                yield
                return
        assert client.connection.close_code == 4004
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)


async def test_a_user_has_so_many_connections_and_gets_back_those_that_end(
    limited: Server, people: dict[str, str]
) -> None:
    url = f"{limited.ws}/ws/secret/x/"  # the limit comes before the policy, which refuses anna
    async with get_in(limited, "broadcast/x/", people["anna"]):
        assert await get_refusal(url, people["anna"]) == (4004, [])
        async with get_in(limited, "broadcast/x/", people["boris"]):
            pass
    async with get_in(limited, "broadcast/x/", people["anna"]):
        pass


async def test_an_address_has_so_many_connections(limited: Server) -> None:
    path = "open/x/"
    async with (
        get_in(limited, path, None),
        get_in(limited, path, None),
        get_in(limited, path, None),
    ):
        async with get_in(limited, path, None):
            assert await get_refusal(f"{limited.ws}/ws/{path}") == (4004, [])
        async with get_in(limited, path, None):
            pass


async def test_too_many_handshakes_are_told_to_try_again_later(
    special_project: Project, launch: Callable[..., Server]
) -> None:
    server = launch(special_project.with_environment(REALTIME_HANDSHAKES_PER_SECOND="1"))

    async def get_raw_code(path: str = "nowhere/x/", token: str | None = None) -> int | None:
        async with open_client(f"{server.ws}/ws/{path}", token) as client:
            assert (await client.wait_closed())[1] == []
            return client.connection.close_code

    codes = await asyncio.gather(*[get_raw_code() for _ in range(16)])
    # Two seconds' worth at once; stock daphne shifts the codes below 3000.
    assert 2 <= codes.count(4504) < 16
    assert set(codes) == {4504, 3013}
    # Whose tokens are not even looked up.
    codes = await asyncio.gather(*[get_raw_code("broadcast/x/", "bad") for _ in range(16)])
    assert 3013 in codes
    looked_up = server.read_metric(
        "realtime_auth_failures_total", where="websocket", reason="invalid"
    )
    assert looked_up == codes.count(4502)
    await asyncio.sleep(1.1)
    assert await get_raw_code() == 4504
