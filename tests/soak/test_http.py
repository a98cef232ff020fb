"""Bodies, heads and readers of HTTP that would take the server from everybody else."""

import contextlib
import itertools
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest

from tests.server.nonsense import build_nonsense, exchange
from tests.server.processes import count_files, measure_memory
from tests.servers import Server
from tests.soak.pace import SCALE, last
from tests.victim import Victim

SECONDS = 15.0
MIB = 1024 * 1024
# The longest that the victim's echoes wait, 99 of 100, in seconds; and what may be kept after all
# that was attempted, in MiB. Tenfold what is measured on a machine of its own.
P99 = 0.1
GROWTH = 64.0


def attack(
    server: Server, work: Callable[[], str | None], report: Callable[[str], None], name: str
) -> Victim:
    """Do that beside a victim; tell what the victim and the memory say."""
    before, files = measure_memory(server), count_files(server)
    most = [before]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            most.append(measure_memory(server))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with Victim(server) as victim:
            told = work()
    finally:
        done.set()
        watcher.join()
    after = measure_memory(server)
    report(
        f"{name}: {victim}; memory {before:.0f} MiB, at most {max(most):.0f}, after {after:.0f}; "
        f"{count_files(server) - files} more files; {told or ''}"
    )
    assert max(most) - before < GROWTH
    assert victim.quantile(0.99) < P99
    return victim


def connect(server: Server, *, receive_buffer: int | None = None) -> socket.socket:
    """A connection that never waits for long."""
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(5.0)
    connection.connect(("127.0.0.1", server.port))
    return connection


def build_head(path: str, *headers: str, method: str = "POST") -> bytes:
    """The head of a request."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "\r\n")).encode()


def send_pieces(connection: socket.socket, pieces: Iterator[bytes]) -> tuple[int, bytes]:
    """Send until the other side no longer takes it; how much went, and what it says."""
    sent = 0
    with contextlib.suppress(OSError):
        for piece in pieces:
            connection.sendall(piece)
            sent += len(piece)
    answer = b""
    with contextlib.suppress(OSError):
        answer = connection.recv(4096)
    return sent, answer.split(b"\r\n", 1)[0]


@pytest.mark.parametrize("path", ["/api/token/", "/nowhere/at/all/"])
@pytest.mark.parametrize("form", ["length", "chunked"])
def test_long_bodies_cost_nothing(
    fresh: Server, report: Callable[[str], None], path: str, form: str
) -> None:
    size = 600 * MIB
    piece = b"x" * MIB
    length = "Transfer-Encoding: chunked" if form == "chunked" else f"Content-Length: {size}"

    def pour() -> str:
        taken, answers = 0, set()
        for _ in last(SECONDS / 2):
            with connect(fresh) as client:
                client.sendall(build_head(path, length, "Content-Type: application/json"))
                pieces = itertools.repeat(
                    piece if form == "length" else b"100000\r\n" + piece + b"\r\n", 600
                )
                sent, answer = send_pieces(client, pieces)
                taken = max(taken, sent)
                answers.add(answer)
        return f"at most {taken / MIB:.0f} MiB taken, {answers}"

    attack(fresh, pour, report, f"{form} to {path}")


def trickle(connections: list[socket.socket], piece: bytes) -> None:
    """Send a little to each, now and then."""
    left = list(connections)
    for _ in last(SECONDS):
        for connection in tuple(left):
            try:
                connection.sendall(piece)
            except OSError:
                left.remove(connection)
        time.sleep(0.5)


@pytest.mark.parametrize(
    ("name", "first", "piece", "count"),
    [
        ("slow bodies", build_head("/api/token/", "Content-Length: 60000"), b"x", 300),
        ("slow heads", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"x", 300),
        ("nothing at all", b"", b"", 1000),
    ],
)
def test_who_takes_their_time_holds_up_nobody(
    fresh: Server, report: Callable[[str], None], name: str, first: bytes, piece: bytes, count: int
) -> None:
    files = count_files(fresh)

    def hold() -> str:
        with ExitStack() as stack:
            connections = [stack.enter_context(connect(fresh)) for _ in range(count)]
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.sendall(first)
            at_first = count_files(fresh) - files
            trickle(connections, piece)
            return f"{count} came, {at_first} were let in, {count_files(fresh) - files} are left"

    attack(fresh, hold, report, name)


def test_readers_of_nothing_hold_no_answers(fresh: Server, report: Callable[[str], None]) -> None:
    """They ask for more and more, meanwhile, without reading."""
    request = build_head("/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js")
    request = 20 * request.replace(b"POST", b"GET", 1)

    def hold() -> str:
        with ExitStack() as stack:
            connections = [
                stack.enter_context(connect(fresh, receive_buffer=4096)) for _ in range(20)
            ]
            sent = 0
            for _ in last(SECONDS):
                for connection in connections:
                    connection.settimeout(0.01)
                    with contextlib.suppress(OSError):
                        sent += connection.send(1000 * request)
            return f"{sent / MIB:.0f} MiB of requests taken, {count_files(fresh)} files"

    attack(fresh, hold, report, "readers of nothing")


def test_long_publications_of_nobody_are_refused(
    fresh: Server, report: Callable[[str], None]
) -> None:
    """They have to be read, for there may be a credential behind them all the same."""
    head = build_head("/api/topics/blobs:a/publications/", f"Content-Length: {16 * MIB}")
    body = bytes(16 * MIB)

    def pour() -> str:
        answers: Counter[bytes] = Counter()
        for _ in last(SECONDS / 2):
            with connect(fresh) as client:
                answers[send_pieces(client, iter([head, body]))[1]] += 1
        return f"{dict(answers)}"

    attack(fresh, pour, report, "publications of nobody")


def test_ten_thousand_requests_in_a_row_wait_their_turn(
    fresh: Server, report: Callable[[str], None]
) -> None:
    request = 10_000 * build_head("/livez", method="GET")

    def pour() -> str:
        with ExitStack() as stack:
            connections = [stack.enter_context(connect(fresh)) for _ in range(10)]
            counts = [0] * len(connections)

            def read(number: int) -> None:
                with contextlib.suppress(OSError):
                    while data := connections[number].recv(65536):
                        counts[number] += data.count(b"HTTP/1.1 200")

            readers = [threading.Thread(target=read, args=(n,)) for n in range(len(connections))]
            writers = [
                threading.Thread(target=send_pieces, args=(connection, iter([request])))
                for connection in connections
            ]
            for thread in (*readers, *writers):
                thread.start()
            time.sleep(SECONDS * SCALE)
            for connection in connections:
                connection.shutdown(socket.SHUT_RDWR)
            for thread in (*readers, *writers):
                thread.join()
        return f"{sum(counts)} answered"

    attack(fresh, pour, report, "10 × 10,000 requests in a row")


def test_nonsense_is_answered_and_costs_nothing(
    fresh: Server, report: Callable[[str], None], chance: Callable[[object], random.Random]
) -> None:
    """The server's log must tell of no fault, either."""
    dice = chance("nonsense")

    def pour() -> str:
        statuses: Counter[int] = Counter()
        with ThreadPoolExecutor(4) as threads:
            for _ in last(SECONDS):
                requests = [build_nonsense(dice) for _ in range(20)]
                answers = threads.map(partial(exchange, fresh.port), requests)
                for request, found in zip(requests, answers, strict=True):
                    assert 500 not in found, request
                    statuses.update(found)
        return f"{dict(sorted(statuses.items()))}"

    attack(fresh, pour, report, "nonsense")
