"""Connections over HTTP under `serve`: what is refused, and that everything ends in time."""

import contextlib
import json
import random
import resource
import select
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import httpx
import pytest

from tests.server.nonsense import build_nonsense, exchange
from tests.server.processes import count_files, measure_memory, wait_until
from tests.server.raw import TEXT, RawClient, RawSocket, build, build_request
from tests.servers import Project, Server, start_server

MIB = 1024 * 1024
LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


def ask(client: RawSocket, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send, and read the status, headers and body of the answer."""
    client.send(data)
    status, headers = client.read_head()
    return status, headers, client.read(int(headers.get("content-length", 0)))


def build_post(path: str, *headers: str) -> bytes:
    """The head of a request with a body."""
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: localhost", *headers, "\r\n")).encode()


def expect_refusal(client: RawSocket, data: bytes, status: int, code: str) -> dict[str, str]:
    """Send, and be refused in JSON and by the end of the connection."""
    found, headers, body = ask(client, data)
    assert found == status, body
    assert headers["connection"] == "close"
    assert json.loads(body)["code"] == code
    client.read_end()
    return headers


# Heads

LONG = "x" * 17_000
MANY = [f"X-{number}: a" for number in range(201)]
TOTAL = [f"X-{number}: {'a' * 8000}" for number in range(5)]


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        (f"/livez?{LONG}", (), 414, "message_too_big"),
        ("/livez", (f"X-Thing: {LONG}",), 431, "message_too_big"),
        ("/livez", TOTAL, 431, "message_too_big"),
        ("/livez", MANY, 431, "message_too_big"),
        ("/livez", ("X-Thing : secret",), 400, "invalid_message"),
        ("/livez", (" secret",), 400, "invalid_message"),
        ("/livez", ("X-Thing: secret\x01",), 400, "invalid_message"),
        ("/livez", ("Host: again",), 400, "invalid_message"),
        ("/livez?secret#secret", (), 400, "invalid_message"),
        ("/livez%00secret", (), 400, "invalid_message"),
        ("secret", (), 400, "invalid_message"),
        ("/livez", ("Transfer-Encoding: secret",), 501, "not_supported"),
        ("/livez", ("Content-Length: 3", "Transfer-Encoding: chunked"), 400, "invalid_message"),
        ("/livez", (f"Content-Length: {10**30}",), 413, "message_too_big"),
        ("/livez", ("Expect: secret",), 417, "not_supported"),
    ],
)
@pytest.mark.parametrize("kind", ["request", "handshake"])
def test_a_head_beyond_a_bound_is_told_which(
    engine: Server, kind: str, path: str, headers: tuple[str, ...], status: int, code: str
) -> None:
    """In one line of the log, too, which has nothing that the client wrote."""
    before = len(engine.read_log())
    if kind == "request":
        data = "\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *headers, "\r\n")).encode()
    else:
        data = build_request(path, *headers)
    with RawSocket(engine.port) as client:
        expect_refusal(client, data, status, code)
    with RawClient(engine.port, early=build(TEXT, b"alive")) as client:
        assert client.read_frame() == (TEXT, b"alive")
    log = engine.read_log()[before:]
    assert log.count("request refused") <= 1  # none where there were many in this minute
    assert "secret" not in log


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        ("CONNECT localhost:80 HTTP/1.1", 501, "not_supported"),
        ("PRI * HTTP/2.0", 505, "not_supported"),
        ("GET /", 400, "invalid_message"),
        ("GET * HTTP/1.1", 400, "invalid_message"),
    ],
)
def test_a_request_line_of_another_kind_is_refused(
    engine: Server, line: str, status: int, code: str
) -> None:
    with RawSocket(engine.port) as client:
        expect_refusal(client, f"{line}\r\nHost: localhost\r\n\r\n".encode(), status, code)


def test_the_server_says_what_it_takes_in_general(engine: Server) -> None:
    with RawSocket(engine.port) as client:
        status, headers, _ = ask(client, b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status == 204
        assert "POST" in headers["allow"]
        client.read_end()


def test_an_absolute_target_is_its_path_at_its_host(engine: Server) -> None:
    with RawSocket(engine.port) as client:
        head = "GET http://{}/livez HTTP/1.1\r\nHost: {}\r\n\r\n"
        assert ask(client, head.format("localhost", "evil.example").encode())[0] == 200
        redirect = b"GET http://localhost:81/api/docs HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    with RawSocket(engine.port) as client:
        status, headers, _ = ask(client, redirect)
        assert status == 301
        assert headers["location"] == "/api/docs/"
    with RawSocket(engine.port) as client:
        assert ask(client, redirect.replace(b"localhost", b"evil.example"))[0] == 400
    with RawSocket(engine.port) as client:
        client.send(build_request("http://localhost/ws/echo/"))
        assert client.read_head()[0] == 101


def test_websocket_is_chosen_where_it_is_one_of_several(engine: Server) -> None:
    with RawSocket(engine.port) as client:
        client.send(build_request("/ws/echo/", "Upgrade: h2c, websocket", without=["Upgrade"]))
        assert client.read_head()[0] == 101


# Bodies


@pytest.mark.parametrize("path", ["/api/token/", "/nowhere/", "/api/topics/", "/admin/login/"])
@pytest.mark.parametrize("expects", [False, True])
def test_a_long_body_is_refused_before_it_comes(engine: Server, path: str, expects: bool) -> None:
    headers = ["Content-Length: 300000", *(["Expect: 100-continue"] if expects else [])]
    with RawSocket(engine.port) as client:
        expect_refusal(client, build_post(path, *headers), 413, "message_too_big")


def test_a_long_body_in_chunks_is_refused_at_the_bound(engine: Server) -> None:
    """What says so can be read by who sends on for a while, and then closes."""
    chunk = b"8000\r\n" + 0x8000 * b"x" + b"\r\n"
    with RawSocket(engine.port) as client:
        client.send(build_post("/api/token/", "Transfer-Encoding: chunked") + 40 * chunk)
        expect_refusal(client, b"", 413, "message_too_big")


def test_a_body_in_tiny_pieces_is_refused(engine: Server) -> None:
    with RawSocket(engine.port) as client:
        head = build_post("/api/topics/open:a/publications/", "Transfer-Encoding: chunked")
        expect_refusal(client, head + 2000 * b"1\r\nx\r\n", 400, "invalid_message")


@pytest.mark.parametrize("form", ["length", "chunked"])
def test_a_publication_may_be_long(engine: Server, form: str) -> None:
    """And is told to go on, where it asks."""
    size = 2 * MIB
    data = bytes(size)
    length = f"Content-Length: {size}" if form == "length" else "Transfer-Encoding: chunked"
    body = data if form == "length" else b"%x\r\n%s\r\n0\r\n\r\n" % (size, data)
    path = "/api/topics/blobs:a/publications/"
    with RawSocket(engine.port) as client:
        client.send(build_post(path, length, "Expect: 100-continue", "Content-Type: image/png"))
        assert client.read_head()[0] == 100
        status, _, answer = ask(client, body)
        assert (status, json.loads(answer)["code"]) == (401, "authentication_required")
        assert ask(client, LIVE)[0] == 200


def test_a_publication_may_not_be_longer_than_one_can_be(engine: Server) -> None:
    with RawSocket(engine.port) as client:
        head = build_post("/api/topics/blobs:a/publications/", f"Content-Length: {16 * MIB + 1}")
        expect_refusal(client, head, 413, "message_too_big")


# Time and room, on a server with little of either


@pytest.fixture(scope="module")
def short_of_time(engine_project: Project, launch_module: Callable[..., Server]) -> Server:
    """Everything has a second."""
    return launch_module(
        engine_project.with_environment(
            REALTIME_HTTP_HEAD_TIMEOUT="1",
            REALTIME_HTTP_PATIENCE="1",
            REALTIME_HTTP_KEEP_ALIVE="1",
            REALTIME_HTTP_LEAST_RATE=str(MIB),
        )
    )


@pytest.fixture(scope="module")
def launch_module() -> Iterator[Callable[..., Server]]:
    """Starts servers that end with the module, in order, and without a fault in their logs."""
    servers: list[Server] = []

    def start(project: Project) -> Server:
        servers.append(start_server(project, "serve"))
        return servers[-1]

    yield start
    for server in servers:
        code, log = server.stop(), server.read_log()
        assert "Traceback" not in log, log
        assert code == 0


@pytest.mark.parametrize(
    ("head", "piece", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: ", b"x", 408),
        (b"", b"\r\n", 408),
        (build_post("/api/token/", "Content-Length: 1000"), b"x", 408),
        (build_post("/api/token/", "Transfer-Encoding: chunked"), b"1\r\nx\r\n", 408),
        (build_post("/api/token/", "Transfer-Encoding: chunked") + b"1;", b"x", 408),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_what_trickles_in_ends(
    short_of_time: Server, head: bytes, piece: bytes, status: int, is_first: bool
) -> None:
    """On a connection that was used before, too; each byte comes in time for the last one."""
    with RawSocket(short_of_time.port) as client:
        if not is_first:
            assert ask(client, LIVE)[0] == 200
        began = time.monotonic()
        client.send(head)
        client.socket.settimeout(0.2)
        answer = b""
        while not answer and time.monotonic() < began + 10:
            client.send(piece)
            with contextlib.suppress(TimeoutError):
                answer = client.socket.recv(4096)
        assert answer.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("first", [b"", LIVE])
def test_a_connection_without_a_request_ends(short_of_time: Server, first: bytes) -> None:
    with RawSocket(short_of_time.port) as client:
        if first:
            assert ask(client, first)[0] == 200
        client.read_end(10)


def test_an_answer_that_nobody_reads_ends(short_of_time: Server) -> None:
    """So does one to somebody who sends more meanwhile, which is not kept either."""
    files = count_files(short_of_time)
    memory = measure_memory(short_of_time)
    request = b"GET /static/admin/js/vendor/jquery/jquery.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with RawSocket(short_of_time.port, receive_buffer=4096) as client:
        with contextlib.suppress(OSError):
            client.socket.settimeout(10)
            for _ in range(200):
                client.send(1000 * request)
        wait_until(lambda: count_files(short_of_time) <= files, 20)
    assert measure_memory(short_of_time) - memory < 40


@pytest.fixture(scope="module")
def short_of_room(engine_project: Project, launch_module: Callable[..., Server]) -> Server:
    """Ten connections of an address, and one and a half bodies."""
    return launch_module(
        engine_project.with_environment(
            REALTIME_HTTP_CONNECTIONS_PER_ADDRESS="10",
            REALTIME_HTTP_BODIES_BYTES_PER_ADDRESS=str(3 * MIB),
            REALTIME_MAX_BINARY_BYTES=str(2 * MIB),
        )
    )


def test_idle_connections_make_room_for_new_ones(short_of_room: Server) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(RawSocket(short_of_room.port)) for _ in range(30)]
        with RawSocket(short_of_room.port) as client:
            assert ask(client, LIVE)[0] == 200
        for client in idle[:20]:
            client.read_end(10)
        assert ask(idle[-1], LIVE)[0] == 200
    limit = "http_connections_per_address"
    assert short_of_room.read_metric("realtime_limited_total", limit=limit) >= 20


def test_where_all_connections_are_busy_a_new_one_is_turned_away(short_of_room: Server) -> None:
    """WebSockets, whose handshakes are over, take none of the room."""
    head = build_post("/api/token/", "Content-Length: 10")
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(RawClient(short_of_room.port))
        busy = [stack.enter_context(RawSocket(short_of_room.port)) for _ in range(10)]
        for client in busy:
            client.send(head + b"x")
        time.sleep(0.2)
        with RawSocket(short_of_room.port) as client:
            status, headers = client.read_head()
            assert (status, headers["retry-after"]) == (503, "1")
        busy[0].send(9 * b"x")
        assert busy[0].read_head()[0] == 415
        with RawSocket(short_of_room.port) as client:
            assert ask(client, LIVE)[0] == 200


def test_bodies_of_one_address_share_what_may_be_held(short_of_room: Server) -> None:
    head = build_post("/api/topics/blobs:a/publications/", f"Content-Length: {2 * MIB}")
    with RawSocket(short_of_room.port) as first, RawSocket(short_of_room.port) as second:
        for client in (first, second):
            with contextlib.suppress(ConnectionError):
                client.send(head + bytes(2 * MIB - 1))
        (over,), _, _ = select.select([first.socket, second.socket], [], [], 30)
        refused, other = (first, second) if over is first.socket else (second, first)
        status, headers = refused.read_head()
        assert (status, headers["retry-after"]) == (429, "1")
        assert ask(other, b"x")[0] == 401
    with RawSocket(short_of_room.port) as client:
        assert ask(client, head + bytes(2 * MIB))[0] == 401


def test_behind_a_proxy_its_clients_are_told_apart(
    engine_project: Project, launch: Callable[..., Server]
) -> None:
    """All connections are the proxy's, and are not bounded as those of one address."""
    project = engine_project.with_environment(
        TRUSTED_PROXIES="1",
        REALTIME_HTTP_CONNECTIONS_PER_ADDRESS="5",
        REALTIME_HTTP_BODIES_BYTES_PER_ADDRESS="1000",
    )
    server = launch(project, "serve")

    def post(address: str, size: int) -> bytes:
        return build_post(
            "/api/token/",
            f"Content-Length: {size + 1}",
            f"X-Forwarded-For: 192.0.2.66, {address}",
        ) + bytes(size)

    with ExitStack() as stack:
        clients = [stack.enter_context(RawSocket(server.port)) for _ in range(20)]
        for number, client in enumerate(clients[:19]):
            client.send(post(f"192.0.2.{number}", 900))
        time.sleep(0.2)
        assert ask(clients[19], post("192.0.2.3", 900))[0] == 429
        assert ask(clients[3], b"x")[0] == 415


def test_a_process_without_file_descriptors_lives_on(
    engine_project: Project, launch: Callable[..., Server]
) -> None:
    server = launch(engine_project, "serve")
    with RawClient(server.port) as old, ExitStack() as stack:
        most = count_files(server) + 20
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (most, hard))
        for _ in range(60):
            stack.enter_context(RawSocket(server.port))
        time.sleep(0.5)
        old.send(build(TEXT, b"alive"))
        assert old.read_frame() == (TEXT, b"alive")
        stack.close()
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        assert httpx.get(f"{server.http}/livez").status_code == 200


def test_lines_about_refusals_are_bounded(
    engine_project: Project, launch: Callable[..., Server]
) -> None:
    server = launch(engine_project.with_environment(LOG_LINES_PER_ADDRESS="300"), "serve")
    for _ in range(200):
        with RawSocket(server.port) as client:
            client.send(b"nonsense\r\n\r\n")
            assert client.read_head()[0] == 400
    assert 50 <= server.read_log().count("request refused") <= 60
    assert server.read_metric("realtime_refused_requests_total", status="400") == 200


def test_requests_in_a_row_are_answered_in_order(engine: Server) -> None:
    with RawSocket(engine.port) as client:
        sender = threading.Thread(target=client.send, args=(500 * LIVE,))
        sender.start()
        for _ in range(500):
            status, headers = client.read_head()
            client.read(int(headers["content-length"]))
            assert status == 200
        sender.join()


# Whatever comes


def test_random_requests_are_answered_without_a_fault(engine: Server) -> None:
    """The log of the server must tell of none, either."""
    dice = random.Random(9112)
    requests = [build_nonsense(dice) for _ in range(300)]
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(partial(exchange, engine.port), requests))
    for request, statuses in zip(requests, answers, strict=True):
        assert 500 not in statuses, request
    assert set().union(*answers) >= {200, 400, 404, 414, 431}
