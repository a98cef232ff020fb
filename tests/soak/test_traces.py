"""What one client leaves behind: in the memory, in the database, in the log."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress

import httpx
import numpy as np
from websockets.sync.client import connect

from tests.clients import save_array
from tests.server.processes import measure_memory
from tests.server.raw import TEXT, RawClient, build
from tests.servers import Project, Server
from tests.soak.conftest import end_in_order
from tests.soak.pace import last
from tests.victim import Victim

MIB = 1024 * 1024
SECONDS = 25.0
CONNECTORS = 4
# What an address keeps at once, and in an hour, in rows and in lines of one kind.
BURST, RATE = 100, 600
# The longest line that a session leaves, in bytes; of three kinds (opened, closed, left out).
LINE = 400
# In MiB: what the history may take, and what the server had to hold besides while it came.
HISTORY, GROWTH = 64, 3 * 64


def measure_disk(project: Project, server: Server) -> tuple[int, int, int]:
    """Rows of ended sessions, the bytes of the database with its journal, those of the log."""
    with closing(sqlite3.connect(project.folder / "db.sqlite3")) as database:
        ((rows,),) = database.execute(
            "SELECT count(*) FROM realtime_session WHERE closed_at IS NOT NULL"
        )
        database.execute("PRAGMA wal_checkpoint")
        ((pages,),) = database.execute("PRAGMA page_count")
        ((free,),) = database.execute("PRAGMA freelist_count")
        ((size,),) = database.execute("PRAGMA page_size")
    return rows, (pages - free) * size, server.log.stat().st_size


class Connector(threading.Thread):
    """Comes and goes, without a word."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.count = 0
        self.stopping = threading.Event()
        self._port = server.port

    def run(self) -> None:
        while not self.stopping.is_set():
            with RawClient(self._port) as client:
                client.send(build(TEXT, b"x"))
                client.read_until(TEXT)
            self.count += 1


def test_who_comes_and_goes_all_the_time_leaves_little_behind(
    open_project: Project, launch: Callable[..., Server]
) -> None:
    project = open_project.with_environment(
        REALTIME_SESSION_ROWS_PER_ADDRESS=str(RATE), LOG_LINES_PER_ADDRESS=str(RATE)
    )
    fresh = launch(project, "serve")
    rows_before, database_before, log_before = measure_disk(project, fresh)
    connectors = [Connector(fresh) for _ in range(CONNECTORS)]
    with Victim(fresh) as victim:
        for connector in connectors:
            connector.start()
        try:
            for _ in last(SECONDS):
                time.sleep(0.1)
        finally:
            for connector in connectors:
                connector.stopping.set()
            for connector in connectors:
                connector.join()
    time.sleep(2)  # what waits is written
    rows, database, log = measure_disk(project, fresh)
    count = sum(connector.count for connector in connectors)
    rows, database, log = rows - rows_before, database - database_before, log - log_before
    print(
        f"{count} connects; {rows} rows, {database} bytes of the database, {log} of the log; "
        f"for 10,000: {rows / count * 1e4:.0f} rows, {database / count * 1e4:.0f} and "
        f"{log / count * 1e4:.0f} bytes; {victim}"
    )
    most = BURST + RATE * SECONDS / 3600 + 2
    assert rows <= most
    assert database < 1000 * most + 64 * 1024
    assert log < 3 * most * LINE
    end_in_order(fresh)


def publish_arrays(server: Server, token: str, number: int) -> None:
    array = save_array(np.zeros(15 * MIB, np.uint8))
    for topic in range(number):
        with (
            suppress(TimeoutError),
            connect(
                f"{server.ws}/ws/arrays/flood{topic}/?subscribe=0",
                additional_headers={"Authorization": f"Bearer {token}"},
                max_size=None,
                ping_interval=None,
            ) as socket,
        ):
            socket.recv()
            socket.send('{"type": "binary", "ref": 1, "chunks": 1}')
            socket.send(array)
            assert '"ack"' in str(socket.recv(timeout=30))


def read_topics(server: Server, token: str, number: int) -> None:
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30) as http:
        for topic in range(number):
            address = f"{server.http}/api/topics/broadcast:unknown{topic}/publications/"
            http.get(address).raise_for_status()


def test_who_fills_the_history_or_reads_what_is_not_there_takes_it_from_nobody(
    make_project: Callable[..., Project], launch: Callable[..., Server]
) -> None:
    project = make_project(
        REALTIME_ECHO_POLICY="anyone",
        REALTIME_MEMORY_HISTORY_BYTES=str(HISTORY * MIB),
        REALTIME_MEMORY_HISTORY_TOPICS="200",
        REALTIME_MESSAGES_PER_SECOND="0",
        REALTIME_BYTES_PER_SECOND="0",
        PYTHONUNBUFFERED="1",
    )
    server = launch(project, "serve")
    quiet, greedy = project.issue_token("anna"), project.issue_token("ben")
    quiet_headers = {"Authorization": f"Bearer {quiet}"}
    with ExitStack() as stack:
        http = stack.enter_context(httpx.Client(headers=quiet_headers, timeout=30))
        urls = [f"{server.http}/api/topics/broadcast:own{n}/publications/" for n in range(20)]
        epochs = [
            http.post(url, json={"data": n}).raise_for_status().json()["epoch"]
            for n, url in enumerate(urls)
        ]
        before = measure_memory(server)
        with Victim(server) as victim:
            publish_arrays(server, greedy, 24)
            read_topics(server, greedy, 400)
        grown = measure_memory(server) - before
        kept = [http.get(url).raise_for_status().json() for url in urls]
    print(f"{len(urls)} histories of another user; memory +{grown:.0f} MiB; {victim}")
    assert [page["epoch"] for page in kept] == epochs
    assert all(len(page["publications"]) == 1 for page in kept)
    assert grown < GROWTH
    end_in_order(server)
