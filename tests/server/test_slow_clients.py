"""Clients that do not read, do not answer, or send flat out: bounded, and at nobody's cost."""

import errno
import json
import re
import socket
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import jwt

from tests.server.processes import count_files, measure_memory, wait_until
from tests.server.raw import (
    BINARY,
    CLOSE,
    CONT,
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
OTHER_FILES = 10  # what the server may open meanwhile, such as connections to the database
SMALL = 16 * 1024  # a receive buffer, so that little is on its way


def has_been_cut(client: RawClient) -> bool:
    """Whether the server has reset the connection, asked without reading."""
    error: int = client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return error == errno.ECONNRESET


def read_json(client: RawClient) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(client.read_until(TEXT))
    return message


def subscribe(port: int, path: str, **options: Any) -> tuple[RawClient, dict[str, Any]]:
    """A subscriber and its `subscribed` message."""
    client = RawClient(port, path, **options)
    assert read_json(client)["type"] == "hello"
    message = read_json(client)
    assert message["type"] == "subscribed"
    return client, message


def read_offsets(client: RawClient) -> tuple[list[int], bytes]:
    """The offsets of the publications up to the close frame, and its payload."""
    offsets = []
    while (frame := client.read_frame())[0] != CLOSE:
        offsets.append(json.loads(frame[1])["offset"])
    return offsets, frame[1]


def publish(client: RawClient, data: Any, ref: int | None = None) -> None:
    message = {"type": "publish", "data": data, "ref": ref}
    client.send(build(TEXT, json.dumps(message).encode()))


# Pings


def test_a_quiet_client_is_pinged_and_cut_only_if_it_is_dead(impatient: Server) -> None:
    """Three clients at the same time: one answers, one does not, one reads slowly instead."""
    with ThreadPoolExecutor() as pool:
        answering = pool.submit(answer_pings, impatient.port)
        silent = pool.submit(stay_silent, impatient.port)
        slow = pool.submit(read_slowly, impatient.port)
        assert answering.result() >= 2
        assert 1 < silent.result() < 12  # a second, and three to answer
        assert slow.result() == 16


def answer_pings(port: int) -> int:
    """Answer pings for a while; returns how many came."""
    with RawClient(port, "/ws/open/pings/") as client:
        count = 0
        deadline = time.monotonic() + 7
        while time.monotonic() < deadline:
            client.send(build(PONG, client.read_until(PING)))
            count += 1
        client.send(build(CLOSE, b"\x03\xe8"))
        assert client.read_close() == (1000, "")
        return count


def stay_silent(port: int) -> float:
    """Answer no ping; returns after how many seconds the connection was cut."""
    with RawClient(port, "/ws/open/pings/") as client:
        began = time.monotonic()
        client.read_until(PING)
        try:
            client.read_end()
        except ConnectionError:
            return time.monotonic() - began
        raise AssertionError("the connection ended in order")


def read_slowly(port: int) -> int:
    """Read an array for seven seconds, answer nothing; returns how many parts of it came."""
    with RawClient(port, "/ws/tables/slow/?subscribe=0", receive_buffer=SMALL) as client:
        client.send(build(TEXT, ARRAY))
        began, parts = time.monotonic(), 0
        while parts < 16:
            parts += client.read_part()[0] in (BINARY, CONT)
            if time.monotonic() < began + 7:
                time.sleep(0.6)
        return parts


# Clients that send flat out


def test_a_flood_of_publishes_is_taken_in_order_and_within_bounds(engine: Server) -> None:
    with RawClient(engine.port, "/ws/open/flood/?subscribe=0") as client:
        before = peak = measure_memory(engine)
        count, deadline = 0, time.monotonic() + 1
        while time.monotonic() < deadline or count < 1000:
            batch = []
            for _ in range(500):
                count += 1
                batch.append(build(TEXT, b'{"n": %d, "pad": "%s"}' % (count, b"x" * 150)))
            client.send(b"".join(batch))
            peak = max(peak, measure_memory(engine))
        publish(client, "last", ref=1)
        assert read_json(client)["type"] == "hello"
        ack = read_json(client)
        assert (ack["type"], ack["offset"]) == ("ack", count + 1)
        query = {"type": "history", "ref": 2, "after": count - 900, "limit": 900}
        client.send(build(TEXT, json.dumps(query).encode()))
        history = read_json(client)
        numbers = [item["data"]["n"] for item in history["publications"]]
        assert numbers == list(range(count - 899, count + 1))
        assert peak - before < 30


def test_others_are_served_while_one_floods(engine: Server) -> None:
    stop = threading.Event()

    def flood() -> None:
        with RawClient(engine.port, "/ws/open/flood2/?subscribe=0") as client:
            frames = build(TEXT, b'{"pad": "%s"}' % (b"x" * 150)) * 200
            while not stop.is_set():
                client.send(frames)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        with RawClient(engine.port) as client:
            times = []
            for _ in range(100):
                began = time.monotonic()
                client.send(build(TEXT, b"hello"))
                assert client.read_frame() == (TEXT, b"hello")
                times.append(time.monotonic() - began)
            assert thread.is_alive()
    finally:
        stop.set()
        thread.join()
    assert statistics.quantiles(times, n=100)[97] < 0.5  # two in a hundred may wait for the machine


def test_an_echo_that_is_not_read_is_not_read_from(engine: Server) -> None:
    """Large messages, and many small ones: the sender is held up, nothing is lost."""
    for size in (MIB, 100):
        frame = build(BINARY, b"x" * size)
        with RawClient(engine.port, receive_buffer=SMALL) as client:
            before = measure_memory(engine)
            client.socket.settimeout(0.5)
            sent = 0
            try:
                while True:
                    sent += client.socket.send(frame[sent % len(frame) :])
                    assert sent < 200 * MIB
            except TimeoutError:
                pass
            assert measure_memory(engine) - before < 10
            client.socket.settimeout(TIMEOUT)
            for _ in range(sent // len(frame)):
                assert client.read_frame() == (BINARY, b"x" * size)


def test_pings_without_end_whose_pongs_are_not_read_are_bounded(engine: Server) -> None:
    with RawClient(engine.port, receive_buffer=SMALL) as client:
        before = measure_memory(engine)
        pings = build(PING, b"x" * 125) * 1000
        for _ in range(200):  # 26 MB
            client.send(pings)
        assert measure_memory(engine) - before < 10


# Subscribers that do not read


def test_a_subscriber_that_stops_reading_is_closed_and_recovers(engine: Server) -> None:
    text, too_slow = "x" * 20_000, r"a session is too slow .*topic=open:stuck\b"
    counted = engine.read_metric("realtime_slow_sessions_total", namespace="open")
    with ExitStack() as stack:
        publisher = stack.enter_context(RawClient(engine.port, "/ws/open/stuck/?subscribe=0"))
        reader, _ = subscribe(engine.port, "/ws/open/stuck/")
        stack.enter_context(reader)
        stuck = []
        for _ in range(10):
            client, start = subscribe(engine.port, "/ws/open/stuck/", receive_buffer=SMALL)
            stuck.append(stack.enter_context(client))
        pool = stack.enter_context(ThreadPoolExecutor(1))
        reading: Future[tuple[list[int], bytes]] | None = None
        before = measure_memory(engine)
        times = []
        for number in range(1, 301):
            began = time.monotonic()
            publish(publisher, {"n": number, "text": text})
            message = read_json(reader)
            times.append(time.monotonic() - began)
            assert message["data"]["n"] == message["offset"] == number
            # It reads again at once: five seconds later it would be cut.
            if reading is None and len(re.findall(too_slow, engine.read_log())) == 10:
                reading = pool.submit(read_offsets, stuck[0])
        assert (
            statistics.quantiles(times, n=100)[97] < 0.5
        )  # two in a hundred may wait for the machine
        # What the history keeps is here too: 6 MB.
        assert measure_memory(engine) - before < 30

        assert reading is not None
        offsets, payload = reading.result()
        assert payload[:2] == (4000).to_bytes(2)
        assert offsets == list(range(1, len(offsets) + 1))
        assert 0 < len(offsets) < 200
        slow = engine.read_metric("realtime_slow_sessions_total", namespace="open")
        assert slow == counted + 10
        stuck[0].send(build(CLOSE, payload))

        path = f"/ws/open/stuck/?epoch={start['epoch']}&offset={offsets[-1]}"
        again, start = subscribe(engine.port, path)
        stack.enter_context(again)
        assert start["recovered"] is True
        missed = [read_json(again)["offset"] for _ in range(300 - len(offsets))]
        assert missed == list(range(len(offsets) + 1, 301))


def test_a_subscriber_that_never_reads_again_is_cut(engine: Server) -> None:
    with ExitStack() as stack:
        publisher = stack.enter_context(RawClient(engine.port, "/ws/open/gone/?subscribe=0"))
        client, _ = subscribe(engine.port, "/ws/open/gone/", receive_buffer=SMALL)
        stack.enter_context(client)
        for _ in range(200):
            publish(publisher, "x" * 20_000)
        wait_until(lambda: has_been_cut(client))


def test_a_slow_subscriber_of_the_latest_gets_the_newest_and_what_it_missed_is_counted(
    engine: Server,
) -> None:
    with ExitStack() as stack:
        before = read_skipped(engine)
        publisher = stack.enter_context(RawClient(engine.port, "/ws/newest/a/?subscribe=0"))
        client, _ = subscribe(engine.port, "/ws/newest/a/", receive_buffer=SMALL)
        stack.enter_context(client)
        for number in range(1, 301):
            publish(publisher, {"n": number, "text": "x" * 20_000})
        publish(publisher, {"n": 301}, ref=1)
        while read_json(publisher)["type"] != "ack":
            pass
        total, messages = 0, []
        while total < 301:
            messages.append(read_json(client))
            total += 1 + messages[-1].get("skipped", 0)
            assert messages[-1]["offset"] == total
        assert messages[-1]["data"] == {"n": 301}
        assert len(messages) < 200
        assert read_skipped(engine) - before == 301 - len(messages)


def read_skipped(server: Server) -> float:
    return server.read_metric("realtime_skipped_publications_total", namespace="newest")


# Sessions that end while nobody reads


def test_a_client_that_asks_and_never_reads_is_cut_when_its_token_ends(
    make_project: Callable[..., Project], launch: Callable[..., Server]
) -> None:
    """Its pings put that off no more than its silence, and what it asked for is given up."""
    project = make_project(
        REALTIME_EXPIRY_GRACE="0",
        REALTIME_STALL_TIMEOUT="1",
        REALTIME_MAX_REQUEST_BYTES="17000000",
        REALTIME_MAX_REQUESTS_BYTES="17000000",
    )
    long = project.issue_token()
    key = (project.folder / "secrets" / "JWT_SIGNING_KEY").read_text().strip()
    claims = jwt.decode(long, options={"verify_signature": False})
    server = launch(project, "serve")
    labels = {"namespace": "arrays", "code": "4001"}
    path, header = "/ws/arrays/unread/?subscribe=0", "Authorization: Bearer "
    with RawClient(server.port, path, header + long) as other:
        assert read_json(other)["type"] == "hello"
        short = jwt.encode({**claims, "exp": int(time.time()) + 3}, key, "HS256")
        with RawClient(server.port, path, header + short, receive_buffer=SMALL) as client:
            assert read_json(client)["type"] == "hello"
            client.send(build(TEXT, ARRAY))
            deadline = time.monotonic() + 20
            with suppress(ConnectionError):
                while time.monotonic() < deadline:
                    client.send(build(PING, b"I am here"))
                    time.sleep(0.2)
            assert time.monotonic() < deadline, "it was not cut"
        wait_until(lambda: server.read_metric("realtime_sessions_ended_total", **labels) == 1)
        other.send(build(TEXT, ARRAY))
        answer = read_json(other)
        assert (answer["type"], answer.get("shape")) == ("binary", [2_000_000]), answer


# Connections that end abruptly


def test_an_unfinished_message_goes_with_its_connection(engine: Server) -> None:
    files = count_files(engine)
    memory = []
    for count in (10, 60):
        for _ in range(count):
            client = RawClient(engine.port)
            client.send(build(BINARY, b"x" * MIB)[:1_000_000])
            client.abort()
        wait_until(lambda: count_files(engine) <= files + OTHER_FILES)
        memory.append(measure_memory(engine))
    assert memory[1] - memory[0] < 20


def test_connections_that_are_dropped_leave_nothing_behind(engine: Server) -> None:
    def open_and_drop(count: int) -> None:
        for number in range(count):
            match number % 5:
                case 0:  # in the middle of the handshake
                    raw = RawSocket(engine.port)
                    raw.send(build_request("/ws/echo/")[:50])
                case 1:  # without a look at the answer
                    raw = RawSocket(engine.port)
                    raw.send(build_request("/ws/open/dropped/"))
                case 2:  # in the middle of a frame
                    raw = RawClient(engine.port)
                    raw.send(build(BINARY, b"x" * 1000)[:500])
                case 3:  # a subscriber
                    raw, _ = subscribe(engine.port, "/ws/open/dropped/")
                case _:  # something on its way
                    raw = RawClient(engine.port)
                    raw.send(build(BINARY, b"x" * 10_000))
            raw.abort()

    files = count_files(engine)
    memory = []
    for count in (600, 500):
        open_and_drop(count)
        wait_until(lambda: count_files(engine) <= files + OTHER_FILES)
        time.sleep(1.2)  # entries are swept each second
        memory.append(measure_memory(engine))
    assert memory[1] - memory[0] < 8
