"""What clients send and never finish, or send too much of: bounds, codes, and that others live."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.limits.conftest import issue_tokens
from tests.server.processes import measure_memory, wait_until
from tests.server.raw import BINARY, CONT, PING, PONG, TEXT, RawClient, build
from tests.servers import Project, Server, start_server

MIB = 1024 * 1024
# The longest message, and twice that: what a user may leave unfinished. In bytes.
LONGEST = 2 * MIB
RATE = 300  # messages a second; a bucket holds two seconds' worth, and may be as much in debt
MESSAGE_TIMEOUT = 2.0  # in seconds; the server looks every two
TOPIC, ECHO = "/ws/broadcast/lobby/", "/ws/echo/"
USERS = ("anna", "boris", "cleo", "dora", "vera")


@pytest.fixture(scope="module")
def guarded(make_project: Callable[..., Project]) -> Iterator[Server]:
    """A server with small bounds on input, and an echo for anyone."""
    project = make_project(
        REALTIME_ECHO_POLICY="anyone",
        REALTIME_MAX_BINARY_BYTES=str(LONGEST),
        REALTIME_INPUT_BYTES_PER_USER=str(2 * LONGEST),
        REALTIME_INPUT_BYTES=str(4 * LONGEST),
        REALTIME_MESSAGES_PER_SECOND=str(RATE),
        REALTIME_MESSAGE_TIMEOUT=str(MESSAGE_TIMEOUT),
        PYTHONUNBUFFERED="1",
    )
    server = start_server(project, "serve")
    yield server
    assert server.stop() == 0
    log = server.read_log()
    assert "Traceback" not in log, log
    assert " ERROR " not in log, log


@pytest.fixture(scope="module")
def tokens(guarded: Server) -> dict[str, str]:
    return issue_tokens(guarded.project, *USERS)


def sign_in(server: Server, token: str, path: str = "/ws/blobs/dump/") -> RawClient:
    """A session that has begun, by a header."""
    client = RawClient(server.port, path, f"Authorization: Bearer {token}")
    if path != ECHO:
        while b'"subscribed"' not in client.read_until(TEXT):
            pass
    return client


def build_half(size: int = LONGEST) -> bytes:
    """All but the end of a long frame."""
    return build(BINARY, bytes(size))[: size - 1000]


def check_alive(server: Server, token: str) -> None:
    """Another user's echo answers."""
    with sign_in(server, token, ECHO) as client:
        client.send(build(TEXT, b"alive"))
        assert client.read_until(TEXT) == b"alive"


# Before a session has begun


@pytest.mark.parametrize(
    "data",
    [
        build(TEXT, bytes(8193))[:8],
        build(BINARY, bytes(LONGEST))[:14],
        build(TEXT, b"x" * 8000, fin=False) + build(CONT, b"x" * 193)[:8],
        build(PING, b"x") + build(TEXT, b"x" * 60_000),
    ],
    ids=["a header", "that of a long frame", "fragments", "a whole message"],
)
def test_a_first_message_over_8_kib_is_refused_by_its_header(guarded: Server, data: bytes) -> None:
    with RawClient(guarded.port, TOPIC) as client:
        client.send(data)
        assert client.read_close()[0] == 1009
        client.read_end()


def test_a_credential_of_8_kib_is_taken(guarded: Server, tokens: dict[str, str]) -> None:
    text = json.dumps({"type": "authenticate", "token": tokens["anna"]}).encode()
    with RawClient(guarded.port, TOPIC) as client:
        client.send(build(TEXT, text.ljust(8192)))
        assert json.loads(client.read_until(TEXT))["type"] == "hello"


def test_what_is_sent_right_behind_a_credential_arrives(
    guarded: Server, tokens: dict[str, str]
) -> None:
    text = json.dumps({"type": "authenticate", "token": tokens["anna"]}).encode()
    pings = b"".join(
        build(TEXT, json.dumps({"type": "ping", "ref": ref, "data": "x" * 50_000}).encode())
        if ref == 3
        else build(TEXT, json.dumps({"type": "ping", "ref": ref}).encode().ljust(400))
        for ref in range(100)
    )
    with RawClient(guarded.port, f"{TOPIC}?subscribe=0") as client:
        client.send(build(TEXT, text) + pings)
        answers = [json.loads(client.read_until(TEXT)) for _ in range(101)]
    assert answers[0]["type"] == "hello"
    assert [answer["ref"] for answer in answers[1:]] == list(range(100))
    assert [answer["type"] for answer in answers[1:5]] == ["pong", "pong", "pong", "error"]


def test_a_long_message_may_follow_a_handshake_that_brought_the_credential(
    guarded: Server, tokens: dict[str, str]
) -> None:
    header = f"Authorization: Bearer {tokens['anna']}"
    with RawClient(guarded.port, ECHO, header) as client:
        client.send(build(BINARY, b"x" * MIB))
        assert client.read_until(BINARY) == b"x" * MIB


@pytest.mark.parametrize(
    "frame",
    [build(PING), build(PONG), build(CONT, fin=False)],
    ids=["pings", "pongs", "empty fragments"],
)
def test_a_flood_without_a_credential_ends_at_once(
    guarded: Server, tokens: dict[str, str], frame: bytes
) -> None:
    with RawClient(guarded.port, TOPIC) as client:
        client.send(build(TEXT, fin=False) + frame * 100)
        assert client.read_close() == (4003, "too many control frames or fragments")
    check_alive(guarded, tokens["vera"])


# Frames


@pytest.mark.parametrize(
    ("begin", "frame"),
    [
        (b"", build(PING, b"x" * 125)),
        (b"", build(PONG)),
        (build(BINARY, fin=False), build(CONT, fin=False)),
        (build(TEXT, fin=False), build(CONT, b"x", fin=False)),
        (build(TEXT, fin=False), build(CONT, fin=False) + build(PING)),
    ],
    ids=["pings", "pongs", "empty fragments", "tiny fragments", "both in turn"],
)
@pytest.mark.parametrize("path", ["/ws/blobs/dump/", ECHO])
def test_who_exceeds_the_allowance_by_other_frames_is_closed(
    guarded: Server, tokens: dict[str, str], path: str, begin: bytes, frame: bytes
) -> None:
    with sign_in(guarded, tokens["dora"], path) as client:
        with contextlib.suppress(OSError):
            client.send(begin + frame * (20 * RATE))
        assert client.read_close() == (4003, "too many control frames or fragments")
    check_alive(guarded, tokens["vera"])


def test_what_a_user_floods_on_one_connection_is_missing_on_the_next(
    guarded: Server, tokens: dict[str, str]
) -> None:
    with sign_in(guarded, tokens["boris"]) as client:
        client.send(build(PONG) * (20 * RATE))
        assert client.read_close()[0] == 4003
    with sign_in(guarded, tokens["boris"]) as client:
        client.send(build(PONG) * (3 * RATE))
        assert client.read_close()[0] == 4003


def test_pings_of_one_who_is_at_the_limit_of_messages_are_answered(
    guarded: Server, tokens: dict[str, str]
) -> None:
    with sign_in(guarded, tokens["cleo"], ECHO) as client:
        for number in range(3 * RATE):
            client.send(build(TEXT, b"%d" % number))
            if number % 50 == 0:
                client.send(build(PING, b"%d" % number))
        found: list[int] = []
        while len(found) < 3 * RATE + 3 * RATE // 50:
            found.append(client.read_frame()[0])
        assert found.count(PONG) == 3 * RATE // 50


# Memory


@pytest.mark.parametrize("kind", ["a frame", "fragments", "an upload"])
def test_unfinished_messages_beyond_a_users_share_cost_the_oldest_its_connection(
    guarded: Server, tokens: dict[str, str], kind: str
) -> None:
    part = MIB + MIB // 2
    data = {
        "a frame": build(BINARY, bytes(LONGEST))[:part],
        "fragments": build(BINARY, fin=False) + build(CONT, bytes(MIB // 8), fin=False) * 12,
        "an upload": build(TEXT, b'{"type":"binary","chunks":9}') + build(BINARY, bytes(part)),
    }[kind]
    before = guarded.read_metric("realtime_limited_total", limit="input")
    with ExitStack() as stack:
        clients = [stack.enter_context(sign_in(guarded, tokens["anna"])) for _ in range(4)]
        for client in clients:
            client.send(data)
            time.sleep(0.2)
        for client in clients[:2]:
            code, reason = client.read_close()
            assert code == 4003
            assert reason == (
                f"too much unfinished input: at most {2 * LONGEST} bytes for each user"
            )
        for client in clients[2:]:
            client.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.read_close()
    assert guarded.read_metric("realtime_limited_total", limit="input") == before + 2


def test_in_a_full_process_those_with_most_lose_and_an_honest_upload_gets_through(
    guarded: Server, tokens: dict[str, str]
) -> None:
    payload = bytes(MIB)
    with ExitStack() as stack:
        honest = stack.enter_context(sign_in(guarded, tokens["vera"]))
        honest.send(build(BINARY, payload)[: MIB // 2])
        attackers = [
            stack.enter_context(sign_in(guarded, tokens[name]))
            for name in ("anna", "boris", "cleo") * 2
        ]
        for client in attackers:
            client.send(build_half(LONGEST - MIB // 8))
        honest.send(build(BINARY, payload)[MIB // 2 :])
        while b'"binary"' not in honest.read_until(TEXT):
            pass
        assert honest.read_until(BINARY) == payload
        codes = []
        for client in attackers:
            client.socket.settimeout(1)
            with contextlib.suppress(TimeoutError, OSError):
                codes.append(client.read_close()[0])
        assert 1013 in codes
        assert set(codes) <= {1013, 4005}


def test_an_echo_that_is_not_read_counts_until_it_is(guarded: Server) -> None:
    before = measure_memory(guarded)
    with ExitStack() as stack:
        for _ in range(24):
            client = RawClient(guarded.port, ECHO, receive_buffer=4096)
            stack.enter_context(client)
            client.socket.settimeout(5)
            with contextlib.suppress(OSError):
                client.send(build(BINARY, bytes(LONGEST)))
        time.sleep(1)
        # What they may hold together, and what the kernel may not have taken.
        assert measure_memory(guarded) - before < 2 * 2 * LONGEST / MIB + 16
        assert guarded.read_metric("realtime_limited_total", limit="input") > 0


# Time


@pytest.mark.parametrize("kind", ["silence", "a byte now and then", "empty fragments"])
def test_a_message_that_never_ends_is_given_up(
    guarded: Server, tokens: dict[str, str], kind: str
) -> None:
    began = time.monotonic()
    with sign_in(guarded, tokens["anna"], ECHO) as client:
        if kind == "empty fragments":
            client.send(build(TEXT, b"x", fin=False))
        else:
            client.send(build(BINARY, bytes(MIB))[:100_000])
        client.socket.settimeout(0.5)
        while True:
            try:
                assert client.read_close() == (
                    4005,
                    "a message did not come to its end in time",
                )
                break
            except TimeoutError:
                assert time.monotonic() - began < 2 * (MESSAGE_TIMEOUT + 4)
            if kind == "a byte now and then":
                client.send(b"x")
            if kind == "empty fragments":
                client.send(build(CONT, fin=False))
    assert time.monotonic() - began >= MESSAGE_TIMEOUT


def test_unfinished_messages_leave_nothing_behind(guarded: Server, tokens: dict[str, str]) -> None:
    with ExitStack() as stack:
        for name in USERS:
            client = stack.enter_context(sign_in(guarded, tokens[name]))
            client.send(build_half())
            client.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: guarded.read_metric("realtime_sessions", namespace="blobs") == 0)
    with sign_in(guarded, tokens["anna"], ECHO) as client:
        for _ in range(3):
            client.send(build(BINARY, bytes(LONGEST)))
            assert len(client.read_until(BINARY)) == LONGEST
