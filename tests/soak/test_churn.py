"""A minute of clients that come and go in every way, on two processes over Redis."""

import contextlib
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest

from tests.server.crowds import read_rows
from tests.server.processes import children, serving, wait_until
from tests.server.raw import CLOSE, PING, PONG, TEXT, RawClient, RawSocket, build, build_request
from tests.servers import Project, RedisServer, Server, start_server
from tests.soak.conftest import end_in_order
from tests.soak.pace import SCALE, last

SECONDS = 60.0
CROWD = 8  # clients at a time that come and go, beside those that hang in their handshake
PAUSE = 0.02  # seconds between two connections of each: some 300 a second in all
HANGING = 20
TOPICS = 4  # few, so that what is kept of each is complete long before the half-way mark
PASSWORD = "a horse that is correct"
# What each process may have open beyond what it began with: each of its threads opens three files
# of SQLite, which keeps them for the next to come; and some connections to Redis.
OTHER_FILES = 24
# In MiB, for each process from the half-way mark on: a leak of 1 KiB a connection is more.
GROWTH = 3.0
Chance = Callable[[object], random.Random]


@pytest.fixture
def two(make_project: Callable[..., Project], redis: RedisServer) -> Iterator[Server]:
    """Two processes of `manage.py serve` over Redis."""
    project = make_project(
        REDIS_URL=redis.url,
        DJANGO_SETTINGS_MODULE="tests.soak.churn_settings",
        REALTIME_HANDSHAKES_PER_SECOND="0",
        REALTIME_MESSAGES_PER_SECOND="0",
        REALTIME_BYTES_PER_SECOND="0",
        PYTHONUNBUFFERED="1",
    )
    server = start_server(project, "serve", "--processes", "2")
    wait_until(lambda: serving(server) == 2, timeout=20)
    yield server
    end_in_order(server)


class Guest:
    """One client after the other, each in its own way."""

    def __init__(self, server: Server, token: str, dice: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self._port = server.port
        self._header = f"Authorization: Bearer {token}"
        self._token = token
        self._dice = dice
        self._hanging: list[RawSocket] = []

    def come_and_go(self) -> None:
        """Until the time is over."""
        ways = [
            *(self.visit, self.visit, self.sign_in_late, self.reset, self.reset_at_once),
            *(self.reset_mid_frame, self.never_sign_in, self.hang),
        ]
        for _ in last(SECONDS):
            way = self._dice.choice(ways)
            self.counts[way.__name__] += 1
            way()
            time.sleep(PAUSE)
        for client in self._hanging:
            client.abort()

    def visit(self) -> None:
        """Subscribe, publish, and take leave."""
        with RawClient(self._port, self._pick_path(), self._header) as client:
            read_type(client, "subscribed")
            self._publish(client)
            take_leave(client)

    def sign_in_late(self) -> None:
        """The same, with the credential in the first message."""
        with RawClient(self._port, self._pick_path()) as client:
            message = {"type": "authenticate", "token": self._token}
            client.send(build(TEXT, json.dumps(message).encode()))
            read_type(client, "subscribed")
            self._publish(client)
            take_leave(client)

    def reset(self) -> None:
        """Subscribe, publish, and reset the connection, the answers unread."""
        client = RawClient(self._port, self._pick_path(), self._header)
        read_type(client, "subscribed")
        client.send(build(TEXT, b'{"n": 0}') * 3)
        client.abort()

    def reset_at_once(self) -> None:
        """Reset the connection with the handshake unanswered."""
        client = RawSocket(self._port)
        client.send(build_request(self._pick_path(), self._header))
        client.abort()

    def reset_mid_frame(self) -> None:
        """Reset the connection in the middle of a message."""
        client = RawClient(self._port, self._pick_path(), self._header)
        client.send(build(TEXT, b'{"pad": "%s"}' % (b"x" * 5000))[:3000])
        client.abort()

    def never_sign_in(self) -> None:
        """Go away without having sent a credential."""
        with RawClient(self._port, self._pick_path()):
            pass

    def hang(self) -> None:
        """Send half of a handshake, and wait; the oldest that does so gives up."""
        client = RawSocket(self._port)
        request = build_request(self._pick_path(), self._header)
        client.send(request[: self._dice.randint(1, len(request) - 1)])
        self._hanging.append(client)
        if len(self._hanging) > HANGING / CROWD:
            self._hanging.pop(0).abort()

    def _pick_path(self) -> str:
        return f"/ws/broadcast/churn-{self._dice.randint(1, TOPICS)}/"

    def _publish(self, client: RawClient) -> None:
        for ref in range(3):
            message = {"type": "publish", "data": {"n": ref}, "ref": ref}
            client.send(build(TEXT, json.dumps(message).encode()))
        for ref in range(3):
            assert read_type(client, "ack")["ref"] == ref
        self.counts["accepted"] += 3


def read_type(client: RawClient, kind: str) -> dict[str, Any]:
    """The next message of a type."""
    while True:
        message: dict[str, Any] = json.loads(client.read_until(TEXT))
        if message["type"] == kind:
            return message
        assert message["type"] != "error", message


def take_leave(client: RawClient) -> None:
    client.send(build(CLOSE, b"\x03\xe8"))
    assert client.read_close()[0] == 1000


def sign_in_and_out(server: Server) -> int:
    """Sign in, open a session, refresh it, sign out, which ends it; returns how often."""
    count = 0
    with httpx.Client(base_url=f"{server.http}/api/token/", timeout=20) as api:
        for _ in last(SECONDS):
            signed = api.post("", json={"username": "boris", "password": PASSWORD})
            tokens = signed.raise_for_status().json()
            header = f"Authorization: Bearer {tokens['access']}"
            with RawClient(server.port, "/ws/broadcast/churn-1/", header) as client:
                read_type(client, "subscribed")
                tokens = api.post("refresh/", json={"refresh": tokens["refresh"]}).json()
                message = {"type": "refresh", "token": tokens["access"], "ref": 1}
                client.send(build(TEXT, json.dumps(message).encode()))
                read_type(client, "refreshed")
                api.post("revoke/", json={"refresh": tokens["refresh"]}).raise_for_status()
                assert client.read_close()[0] == 4505
            count += 1
            time.sleep(0.5)
    return count


class Witness(threading.Thread):
    """A subscriber who stays, and gets every publication of a topic, in order."""

    def __init__(self, server: Server, token: str) -> None:
        super().__init__(daemon=True)
        header = f"Authorization: Bearer {token}"
        self.client = RawClient(server.port, "/ws/broadcast/churn-1/", header)
        read_type(self.client, "subscribed")
        self.offset = 0
        self.fault: str | None = None

    def run(self) -> None:
        with contextlib.suppress(OSError, EOFError):  # the test has shut it
            while True:
                opcode, payload = self.client.read_frame()
                if opcode == PING:
                    self.client.send(build(PONG, payload))
                if opcode != TEXT:
                    continue
                message = json.loads(payload)
                if message.get("offset") != self.offset + 1:
                    self.fault = self.fault or f"after {self.offset}: {message}"
                self.offset += 1


def measure(processes: list[psutil.Process]) -> list[float]:
    """The resident memory of each, in MiB: the least of two seconds.

    Hashing a password takes 100 MiB for a moment.
    """
    samples = []
    for _ in range(40):
        samples.append([process.memory_info().rss / 1024**2 for process in processes])
        time.sleep(0.05)
    return [min(values) for values in zip(*samples, strict=True)]


def test_nothing_is_left_of_clients_that_come_and_go(two: Server, chance: Chance) -> None:
    token = two.project.issue_token()
    two.project.manage(
        "shell",
        "-c",
        "from accounts.models import User; "
        f"User.objects.create_user('boris', password={PASSWORD!r})",
    )
    processes = [psutil.Process(pid) for pid in sorted(children(two))]
    witness = Witness(two, token)
    files = [process.num_fds() for process in processes]
    witness.start()
    with ThreadPoolExecutor(CROWD + 1) as pool:
        guests = [Guest(two, token, chance(number)) for number in range(CROWD)]
        running = [pool.submit(guest.come_and_go) for guest in guests]
        signing = pool.submit(sign_in_and_out, two)
        time.sleep(SECONDS * SCALE / 2)
        half = measure(processes)
        for one in running:
            one.result()
        grown = [end - start for end, start in zip(measure(processes), half, strict=True)]
        signed_in = signing.result()
    counts = sum((guest.counts for guest in guests), Counter())

    def count_extra_files() -> list[int]:
        return [process.num_fds() - start for process, start in zip(processes, files, strict=True)]

    def count_open_rows() -> int:
        return sum(not is_closed for _, is_closed in read_rows(two))

    def count_connections() -> int:
        return sum(
            connection.laddr.port == two.port and connection.status == psutil.CONN_ESTABLISHED
            for process in processes
            for connection in process.net_connections("tcp")
        )

    wait_until(lambda: count_connections() == 1, timeout=15)  # the witness
    wait_until(lambda: max(count_extra_files()) <= OTHER_FILES, timeout=5)
    wait_until(lambda: count_open_rows() == 1, timeout=15)
    time.sleep(0.5)
    assert witness.fault is None, witness.fault
    witness.client.socket.shutdown(socket.SHUT_RDWR)
    witness.join(10)
    witness.client.socket.close()
    wait_until(lambda: count_open_rows() == 0, timeout=15)
    codes = Counter(code for code, _ in read_rows(two))
    print(
        f"{sum(counts.values()) - counts['accepted']} connections ({dict(counts)}), "
        f"{signed_in} signed in and out; {codes.total()} sessions, all closed: {dict(codes)}; "
        f"the witness got {witness.offset} publications; files {count_extra_files()} more; memory "
        f"{', '.join(f'{value:+.1f}' for value in grown)} MiB in the second half"
    )
    assert {process.pid for process in processes} == children(two)  # none was replaced
    assert max(grown) < GROWTH
    assert codes[4505] == signed_in
