"""The engine behind `serve`, over sockets: frames, answers and endings."""

import re
import signal
import struct
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import httpx
import pytest

from tests.clients import open_client
from tests.server.processes import wait_until
from tests.server.raw import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    TIMEOUT,
    RawClient,
    RawSocket,
    build,
    build_request,
)
from tests.servers import Project, Server

MIB = 1024 * 1024
ARRAY = b'{"shape": [2000000], "dtype": "float64", "source": "zeros"}'  # 16 MB, in 16 parts
RETRY_AFTER = re.compile(r"retry_after=\d+(\.\d+)?")


def close(code: int, reason: bytes = b"") -> bytes:
    return build(CLOSE, struct.pack("!H", code) + reason)


# The beginning


@pytest.mark.parametrize(
    "message", [b"", b"hello", b"a\r\nb\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"x" * 5000]
)
def test_frames_sent_along_with_the_handshake_are_not_lost(engine: Server, message: bytes) -> None:
    with RawClient(engine.port, early=build(BINARY, message) + build(TEXT, b"second")) as client:
        assert client.read_frame() == (BINARY, message)
        assert client.read_frame() == (TEXT, b"second")


def test_much_that_is_sent_along_with_the_handshake_is_refused(engine: Server) -> None:
    with RawClient(engine.port, early=build(BINARY, b"x" * 60_000) * 5) as client:
        assert client.read_close() == (1009, "too much before the handshake was answered")
        client.read_end()


@pytest.mark.parametrize("cut", [1, 2, 7, 10])
def test_a_frame_may_begin_in_the_segment_of_the_handshake(engine: Server, cut: int) -> None:
    frame = build(TEXT, b"in two parts")
    with RawClient(engine.port, early=frame[:cut]) as client:
        client.send(frame[cut:])
        assert client.read_frame() == (TEXT, b"in two parts")


@pytest.mark.parametrize("message", ["", b""])
async def test_empty_messages_are_messages(engine: Server, message: str | bytes) -> None:
    async with open_client(f"{engine.ws}/ws/echo/") as client:
        for _ in range(2):
            await client.connection.send(message)
            assert await client.connection.recv() == message


def test_the_subprotocol_is_selected_and_a_token_among_them_is_not_echoed(engine: Server) -> None:
    with RawClient(engine.port, "/ws/echo/") as client:
        assert "sec-websocket-protocol" not in client.headers
    offer = "Sec-WebSocket-Protocol: other, realtime.v1"
    with RawClient(engine.port, "/ws/echo/", offer) as client:
        assert client.headers["sec-websocket-protocol"] == "realtime.v1"
    offer = "Sec-WebSocket-Protocol: realtime.v1, realtime.bearer.nonsense"
    with RawClient(engine.port, "/ws/echo/", offer) as client:
        assert client.headers["sec-websocket-protocol"] == "realtime.v1"
        assert client.read_close()[0] == 4502


# Requests that are no handshakes


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (build_request("/ws/echo/", without=["Sec-WebSocket-Key"]), 400),
        (build_request("/ws/echo/", "Sec-WebSocket-Key: AAAA", without=["Sec-WebSocket-Key"]), 400),
        (build_request("/ws/echo/", "Sec-WebSocket-Key: " + "A" * 24), 400),
        (build_request("/ws/echo/", without=["Sec-WebSocket-Version"]), 400),
        (build_request("/ws/echo/", without=["Connection"]), 426),
        (build_request("/ws/echo/", method="POST"), 405),
        (build_request("/ws/echo/", "Content-Length: 3", method="POST") + b"abc", 405),
        (build_request("/ws/echo/", method="\xe9"), 400),
        (build_request("/ws/echo/").replace(b"HTTP/1.1", b"HTTP/1.\xe9"), 400),
        (build_request("/ws/echo/").replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
        (build_request("/ws/\xe9/"), 400),
        (build_request("/ws/echo/?\xe9"), 400),
        (build_request("/ws/echo/", "Authorization: Bearer \x01"), 400),
    ],
)
def test_a_malformed_handshake_is_refused_and_the_server_lives(
    engine: Server, request_: bytes, status: int
) -> None:
    with RawSocket(engine.port) as client:
        client.send(request_)
        assert client.read_head()[0] == status
    with RawClient(engine.port, early=build(TEXT, b"alive")) as client:
        assert client.read_frame() == (TEXT, b"alive")


def test_a_wrong_version_is_told_the_right_one(engine: Server) -> None:
    with RawSocket(engine.port) as client:
        client.send(
            build_request(
                "/ws/echo/", "Sec-WebSocket-Version: 8", without=["Sec-WebSocket-Version"]
            )
        )
        status, headers = client.read_head()
        assert status in (400, 426)
        assert headers["sec-websocket-version"] == "13"


def test_http_is_served_on_the_same_port_and_connection(engine: Server) -> None:
    with RawSocket(engine.port) as client:
        for path, expected in [("/livez", 200), ("/nothing/here/", 404), ("/livez", 200)]:
            client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            status, headers = client.read_head()
            assert status == expected
            client.read(int(headers["content-length"]))
        # A WebSocket on a connection that was used for requests before.
        client.send(build_request("/ws/echo/") + build(TEXT, b"after"))
        assert client.read_head()[0] == 101
        assert client.read(7) == b"\x81\x05after"


def test_bodies_of_any_size_reach_the_application(engine: Server) -> None:
    with httpx.Client(base_url=engine.http, timeout=30) as client:
        for username in ("nobody", "x" * 20_000):
            answer = client.post("/api/token/", json={"username": username, "password": "wrong"})
            assert answer.status_code in (400, 401)
            assert answer.json()["code"]


# Where the application is mounted


def fetch(port: int, path: str, *headers: str) -> int:
    """The status of a plain request."""
    with RawSocket(port) as client:
        client.send(
            "\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *headers, "\r\n")).encode()
        )
        return client.read_head()[0]


def upgrade(port: int, path: str, *headers: str) -> int:
    """The status of a request for a WebSocket."""
    with RawSocket(port) as client:
        client.send(build_request(path, *headers))
        return client.read_head()[0]


@pytest.mark.parametrize("name", ["Daphne-Root-Path", "daphne-root-path", "DAPHNE-ROOT-PATH"])
def test_a_root_path_that_a_client_writes_is_not_believed(engine: Server, name: str) -> None:
    """With it, /ws/metrics would be /metrics, which a proxy keeps to itself."""
    assert fetch(engine.port, "/ws/metrics", f"{name}: /ws") == 404
    assert fetch(engine.port, "/livez", f"{name}: /elsewhere", f"{name}: /livez") == 200
    assert upgrade(engine.port, "/hidden/ws/echo/", f"{name}: /hidden") == 403
    assert upgrade(engine.port, "/ws/echo/", f"{name}: /ws") == 101


def test_the_root_path_of_the_command_line_counts(
    engine_project: Project, launch: Callable[..., Server]
) -> None:
    port = launch(engine_project, "serve", "--root-path", "/base").port
    for headers in ([], ["Daphne-Root-Path: /other"], ["Daphne-Root-Path:"]):
        assert fetch(port, "/base/livez", *headers) == 200
        assert fetch(port, "/other/livez", *headers) == 404
        assert upgrade(port, "/base/ws/echo/", *headers) == 101
        assert upgrade(port, "/other/ws/echo/", *headers) == 403


# The addresses of clients


def test_a_forwarded_address_is_not_believed(engine: Server) -> None:
    with RawClient(engine.port, "/ws/open/address/", "X-Forwarded-For: 203.0.113.7") as client:
        client.read_frame()
    closed = r"session closed .*topic=open:address .*address=(\S+)"
    wait_until(lambda: re.search(closed, engine.read_log()) is not None)
    assert re.findall(closed, engine.read_log()) == ["127.0.0.1"]
    assert "203.0.113.7" not in engine.read_log()


# Endings


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (build(TEXT, b"hello", is_masked=False), 1002),
        (build(TEXT, b"hello", reserved=4), 1002),
        (build(0x3, b"hello"), 1002),
        (build(PING, b"x" * 126), 1002),
        (build(CLOSE, b"\x03"), 1002),
        (close(999), 1002),
        (close(1005), 1002),
        (build(0x0, b"a continuation of nothing"), 1002),
        (build(TEXT, b"\xff"), 1007),
        (build(TEXT, b"\xc3", fin=False) + build(0x0, b"("), 1007),
        (close(1000, b"\xff"), 1007),
        (build(BINARY, b"x" * MIB + b"x"), 1009),
        (build(BINARY, b"x" * MIB, fin=False) + build(0x0, b"x"), 1009),
        (build(TEXT, b"x" * 65_537), 1009),
    ],
)
def test_a_fault_is_answered_with_its_code_and_the_end(
    engine: Server, data: bytes, code: int
) -> None:
    with RawClient(engine.port) as client:
        client.send(build(TEXT, b"before"))
        assert client.read_frame() == (TEXT, b"before")
        client.send(data)
        found, reason = client.read_close()
        assert found == code
        assert reason
        if code == 1009 and data[1:2] == b"\xff" and len(data) < 70_000:
            client.send(close(1009))  # refused by its consumer: an orderly close
        client.read_end()


def test_a_client_that_goes_on_sending_reads_why_it_was_refused(engine: Server) -> None:
    with RawClient(engine.port) as client:
        client.send(build(BINARY, b"x" * (64 * MIB))[: 4 * MIB])
        sender = threading.Thread(target=send_until_refused, args=(client,))
        sender.start()
        time.sleep(0.3)
        assert client.read_close()[0] == 1009
        sender.join(TIMEOUT)
        assert not sender.is_alive()


def send_until_refused(client: RawClient) -> None:
    try:
        for _ in range(400):
            client.socket.send(b"x" * 65_536)
            time.sleep(0.001)
    except OSError:
        pass  # once the server is gone


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        ("/ws/echo/", 4501, "authentication required"),
        (
            "/ws/broadcast/lobby",
            4504,
            "unknown topic: paths are /ws/echo/ and /ws/<namespace>/<name>/ and end with a slash",
        ),
        ("/ws/open/a/?nonsense=1", 4500, "invalid parameter"),
    ],
)
async def test_a_refusal_reaches_the_client_with_code_and_reason(
    impatient: Server, path: str, code: int, reason: str
) -> None:
    async with open_client(f"{impatient.ws}{path}") as client:
        assert (await client.wait_closed())[0] == code
        assert client.connection.close_reason == reason


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe8bye", b"\x0f\xa0reason"])
def test_a_client_that_closes_gets_its_close_back_and_the_end_at_once(
    engine: Server, payload: bytes
) -> None:
    with RawClient(engine.port) as client:
        began = time.monotonic()
        client.send(build(CLOSE, payload))
        assert client.read_frame() == (CLOSE, payload)
        client.read_end()
        assert time.monotonic() - began < 4  # not after the five seconds of one who does not


def test_a_close_that_is_never_answered_ends_after_five_seconds(engine: Server) -> None:
    began = time.monotonic()
    with RawClient(engine.port, "/ws/nothing/") as client:
        assert client.read_close()[0] == 4504
        with pytest.raises(ConnectionError):  # aborted
            client.read_end()
        assert 4.9 < time.monotonic() - began < 15


def test_sigterm_tells_every_session_when_to_come_back(
    engine_project: Project, launch: Callable[..., Server]
) -> None:
    server = launch(engine_project, "serve")
    with ExitStack() as stack:
        clients = [
            stack.enter_context(RawClient(server.port, path))
            for path in ("/ws/echo/", "/ws/open/a/", "/ws/tables/a/") * 5
        ]
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            code, reason = client.read_close()
            assert code == 1012
            assert RETRY_AFTER.fullmatch(reason)
            client.send(close(1012))
            client.read_end()
    assert server.process.wait(TIMEOUT) == 0


# Control frames


@pytest.mark.parametrize("payload", [b"", b"1234", b"\x00\xff" * 62])
def test_a_ping_is_answered_with_its_payload(engine: Server, payload: bytes) -> None:
    with RawClient(engine.port) as client:
        client.send(build(PING, payload))
        assert client.read_frame() == (PONG, payload)


def open_slow_reader(port: int) -> RawClient:
    """A client that an array of 16 MB is on its way to, and that has read its header only."""
    client = RawClient(port, "/ws/tables/slow/?subscribe=0", receive_buffer=16 * 1024)
    assert b'"hello"' in client.read_until(TEXT)
    client.send(build(TEXT, ARRAY))
    assert b'"binary"' in client.read_until(TEXT)
    time.sleep(1)  # the kernel is full now
    return client


@pytest.mark.parametrize(("kind", "messages"), [("engine", 16), ("impatient", 1)])
def test_a_pong_overtakes_an_array_that_is_read_slowly(
    request: pytest.FixtureRequest, kind: str, messages: int
) -> None:
    """Between two of its messages, and between two fragments of one."""
    server: Server = request.getfixturevalue(kind)
    with open_slow_reader(server.port) as client:
        client.send(build(PING, b"how long?"))
        time.sleep(1)  # it is read by now
        parts = []
        while (part := client.read_part())[0] != PONG:
            parts.append(part)
        assert part[2] == b"how long?"
        assert len(parts) < 4
        while len(parts) < 16:
            parts.append(client.read_part())
        assert sum(len(payload) for _, _, payload in parts) == 16_000_128
        assert [opcode for opcode, _, _ in parts].count(BINARY) == messages
        assert [is_final for _, is_final, _ in parts].count(True) == messages


def test_a_client_may_close_while_an_array_is_on_its_way(engine: Server) -> None:
    with open_slow_reader(engine.port) as client:
        client.send(close(1000, b"enough"))
        assert client.read_close() == (1000, "enough")
        client.read_end()


def test_a_fault_while_an_array_is_on_its_way_is_answered(engine: Server) -> None:
    with open_slow_reader(engine.port) as client:
        client.send(build(TEXT, b"\xff"))
        assert client.read_close()[0] == 1007
        client.read_end()
