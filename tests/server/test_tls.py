"""The engine on an `ssl:` endpoint, with a certificate made here."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from tests.clients import open_client, save_array
from tests.server.processes import measure_memory
from tests.server.raw import BINARY, CONT, PING, PONG, TEXT, build, build_request
from tests.servers import Project, Server, find_free_port, start_server

ARRAY = np.arange(1_000_000, dtype="<f8")  # 8 MB


@pytest.fixture(scope="module")
def secure(engine_project: Project, certificate: Path) -> Iterator[tuple[Server, int]]:
    """A server, and the port of its TLS endpoint."""
    port = find_free_port()
    endpoint = (
        f"ssl:{port}:privateKey={certificate}/key.pem:certKey={certificate}/certificate.pem"
        ":interface=127.0.0.1"
    )
    server = start_server(engine_project, "serve", "--endpoint", endpoint)
    yield server, port
    assert server.stop() == 0
    assert "Traceback" not in server.read_log()


@pytest.fixture(scope="module")
def context(certificate: Path) -> ssl.SSLContext:
    """What trusts that certificate."""
    return ssl.create_default_context(cafile=str(certificate / "certificate.pem"))


@pytest.mark.parametrize("message", ["hello", "", b"", b"x" * 100_000])
async def test_messages_come_back(
    secure: tuple[Server, int], context: ssl.SSLContext, message: str | bytes
) -> None:
    async with open_client(f"wss://127.0.0.1:{secure[1]}/ws/echo/", ssl=context) as client:
        for _ in range(3):
            await client.send(message)
            assert await client.connection.recv() == message
        await (await client.connection.ping(b"payload"))


async def test_a_publication_reaches_plain_and_secure_subscribers(
    secure: tuple[Server, int], context: ssl.SSLContext
) -> None:
    server, port = secure
    async with (
        open_client(f"wss://127.0.0.1:{port}/ws/open/a/", ssl=context) as first,
        open_client(f"{server.ws}/ws/open/a/") as second,
    ):
        for client in (first, second):
            await client.receive_type("subscribed")
        for number in range(200):
            await first.send({"n": number})
        for client in (first, second):
            found = [(await client.receive_type("publication"))["data"] for _ in range(200)]
            assert found == [{"n": number} for number in range(200)]


async def test_an_array_of_eight_megabytes_goes_up_and_down(
    secure: tuple[Server, int], context: ssl.SSLContext
) -> None:
    url = f"wss://127.0.0.1:{secure[1]}/ws/tables/a/"
    async with open_client(url, ssl=context) as client:
        await client.receive_type("subscribed")
        await client.send(save_array(ARRAY))
        _, array = await client.receive_array()
        assert np.array_equal(array, ARRAY)


@pytest.mark.parametrize(
    ("path", "message", "code"),
    [
        ("/ws/nothing/", None, 4504),
        ("/ws/echo/", bytes(17 * 1024 * 1024), 1009),
        ("/ws/echo/", "x" * 70_000, 1009),
    ],
)
async def test_close_codes_reach_the_client(
    secure: tuple[Server, int],
    context: ssl.SSLContext,
    path: str,
    message: str | bytes | None,
    code: int,
) -> None:
    async with open_client(f"wss://127.0.0.1:{secure[1]}{path}", ssl=context) as client:
        if message is not None:
            with contextlib.suppress(ConnectionClosed):  # refused by its header already
                await client.send(message)
        assert (await client.wait_closed())[0] == code


async def test_a_slow_reader_is_bounded_and_closed(
    secure: tuple[Server, int], context: ssl.SSLContext
) -> None:
    server, port = secure
    too_slow = "a session is too slow"
    url = f"wss://127.0.0.1:{port}/ws/open/stuck/"
    async with (
        open_client(url + "?subscribe=0", ssl=context) as publisher,
        open_client(url, ssl=context, max_queue=1) as slow,
    ):
        await slow.receive_type("subscribed")
        before = measure_memory(server)
        reading: asyncio.Task[tuple[int, list[Any]]] | None = None
        for number in range(300):
            await publisher.send({"n": number, "pad": "x" * 60_000})
            # It reads again at once: five seconds later it would be cut.
            if reading is None and too_slow in server.read_log():
                reading = asyncio.create_task(slow.wait_closed())
        await publisher.send({"type": "ping", "ref": 1})
        await publisher.receive_type("pong")
        # The history has 16 MiB of it.
        assert measure_memory(server) - before < 40
        assert reading is not None
        code, messages = await reading
        assert code == 4000
        offsets = [message["offset"] for message in messages]
        assert offsets == list(range(1, len(offsets) + 1))
        assert len(offsets) < 250


def read_all(connection: ssl.SSLSocket) -> bytes:
    """What comes until the end, which must come."""
    connection.settimeout(30)
    answer = b""
    with contextlib.suppress(ssl.SSLEOFError, ConnectionError):
        while data := connection.recv(65536):
            answer += data
    return answer


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + 17_000 * b"x", 431),
        (b"POST /api/token/ HTTP/1.1\r\nHost: a\r\nContent-Length: 600000000\r\n\r\n", 413),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 204),
        (b"GET / HTTP/1.1\r\nX: ", 408),
    ],
)
def test_a_refusal_arrives_though_the_client_sends_on(
    secure: tuple[Server, int], context: ssl.SSLContext, data: bytes, status: int
) -> None:
    with (
        socket.create_connection(("127.0.0.1", secure[1])) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(data)
        with contextlib.suppress(OSError):
            connection.sendall(200_000 * b"x" if status == 413 else b"")
        assert read_all(connection).startswith(b"HTTP/1.1 %d " % status)


def read_close(client: ssl.SSLSocket) -> int:
    """The server's close code; empty pongs before it are passed over."""
    data, pong = b"", build(PONG, is_masked=False)
    while len(data) < 4:
        part = client.recv(4096)
        assert part
        data += part
        while data.startswith(pong):
            data = data.removeprefix(pong)
    assert data[0] == 0x88
    return int.from_bytes(data[2:4], "big")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (build(BINARY, bytes(100_000))[:14], 1009),
        (build(PING) * 100, 4003),
        (build(TEXT, fin=False) + build(CONT, fin=False) * 100, 4003),
    ],
    ids=["a long frame", "pings", "empty fragments"],
)
def test_without_a_credential_little_is_taken(
    secure: tuple[Server, int], context: ssl.SSLContext, data: bytes, code: int
) -> None:
    with (
        socket.create_connection(("127.0.0.1", secure[1]), 30) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(build_request("/ws/broadcast/lobby/"))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        client.sendall(data)
        assert read_close(client) == code


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["silent", "begun"])
def test_a_handshake_of_tls_that_never_ends_is_cut(
    secure: tuple[Server, int], begun: bytes
) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", secure[1]), 30) as client:
        client.sendall(begun)
        with contextlib.suppress(ConnectionError):
            while client.recv(4096):
                pass
    assert time.monotonic() - began < 10
