"""`manage.py serve --processes N`: real processes on one socket, with a real Redis."""

import asyncio
import contextlib
import itertools
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from realtime.server.processes import Supervisor
from tests.clients import Client, open_client
from tests.server.processes import children, serving
from tests.server.work import FILE
from tests.servers import ROOT, Project, RedisServer, Server, start_server

WORK = ("--background", "tests.server.work.note_process")
TIMEOUT = 90.0  # in seconds; it only keeps a test from hanging


@pytest.fixture(scope="module")
def shared(
    make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """A project with a Redis, for all tests of this module."""
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield make_project(REDIS_URL=redis.url)
    redis.kill()


@pytest.fixture(scope="module")
def user_token(shared: Project) -> str:
    return shared.issue_token()


@pytest.fixture(scope="module")
def three(shared: Project) -> Iterator[Server]:
    """Three processes, one of them with background work; each test leaves three behind."""
    server = start_server(shared, "serve", "--processes", "3", *WORK)
    wait_until(lambda: serving(server) == 3, "not all processes serve")
    yield server
    pids = children(server)
    assert server.stop() == 0
    assert not any(map(is_alive, pids))


@pytest.fixture
def start(shared: Project) -> Iterator[Callable[..., Server]]:
    """Starts two processes, for a test that ends them."""
    servers: list[Server] = []

    def start_two(*options: str) -> Server:
        servers.append(start_server(shared, "serve", "--processes", "2", *options))
        wait_until(lambda: serving(servers[-1]) == 2, "not all processes serve")
        return servers[-1]

    yield start_two
    for server in servers:
        server.stop(kill=True)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def read_work(server: Server) -> list[str]:
    """What the background work of a server wrote down."""
    return (server.project.folder / FILE).read_text().splitlines()


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


async def become(is_so: Callable[[], bool], what: str) -> None:
    """The same, beside connections that are to be read."""
    await asyncio.to_thread(wait_until, is_so, what)


@asynccontextmanager
async def connected(
    server: Server, token: str, topic: str, count: int, *, at_least: int = 0
) -> AsyncIterator[list[tuple[str, Client]]]:
    """Sessions on a topic, each with the id of its instance.

    More than `count`, where the kernel gave one of three processes less than `at_least`.
    """
    async with AsyncExitStack() as stack:
        sessions: list[tuple[str, Client]] = []
        while len(sessions) < count or not is_spread(sessions, at_least):
            assert len(sessions) < 10 * count, Counter(instance for instance, _ in sessions)
            client = await stack.enter_async_context(
                open_client(f"{server.ws}/ws/broadcast/{topic}/", token)
            )
            instance = (await client.receive_type("hello"))["instance"]
            await client.receive_type("subscribed")
            sessions.append((instance, client))
        yield sessions


def is_spread(sessions: list[tuple[str, Client]], at_least: int) -> bool:
    """Whether each of three processes has that many."""
    counts = Counter(instance for instance, _ in sessions)
    return at_least == 0 or (len(counts) == 3 and min(counts.values()) >= at_least)


async def test_connections_are_spread_over_all_processes(three: Server, user_token: str) -> None:
    async with connected(three, user_token, "spread", 60, at_least=3) as sessions:
        count = len(sessions)

        def ask() -> float:
            return three.read_metric("realtime_sessions", namespace="broadcast")

        await become(lambda: ask() == count, "sessions are missing")
        open_now = {ask() for _ in range(9)}
    assert open_now == {count}  # whichever process is asked


async def test_a_broadcast_reaches_the_sessions_of_every_process(
    three: Server, user_token: str
) -> None:
    async with connected(three, user_token, "across", 15, at_least=1) as sessions:
        for number in range(20):
            await sessions[number % 15][1].send({"n": number})
        for _, client in sessions:
            received = [await client.receive_type("publication") for _ in range(20)]
            assert [message["offset"] for message in received] == list(range(1, 21))
            assert {message["data"]["n"] for message in received} == set(range(20))


async def test_a_killed_process_comes_back_and_the_others_never_notice(
    three: Server, user_token: str
) -> None:
    before = children(three)
    worker = int(read_work(three)[-1].split()[1])
    victim = min(before - {worker})
    async with connected(three, user_token, "killed", 15, at_least=1) as sessions:
        psutil.Process(victim).kill()
        await become(
            lambda: serving(three) == 3 and victim not in children(three), "it did not come back"
        )

        def find_lost() -> set[str]:
            return {instance for instance, client in sessions if client.connection.close_code}

        await become(lambda: len(find_lost()) > 0, "nobody noticed")
        lost = find_lost()
        assert len(lost) == 1
        others = [client for instance, client in sessions if instance not in lost]
        await others[0].send({"text": "still here"})
        for client in others:
            assert (await client.receive())["offset"] == 1
    assert before - children(three) == {victim}
    assert "(SIGKILL); starting another in 0.5 s" in three.read_log()
    assert read_work(three)[-1] == f"begin {worker}"


async def test_a_process_that_dies_is_counted_and_the_server_has_not_begun_anew(
    three: Server,
) -> None:
    def read(name: str) -> set[float]:
        return {three.read_metric(f"realtime_{name}") for _ in range(9)}  # whoever is asked

    [began], [crashes] = read("start_time_seconds"), read("process_crashes_total")
    assert 0 < time.time() - began < 3600
    worker = int(read_work(three)[-1].split()[-1])  # another test follows its work
    victim = next(pid for pid in children(three) if pid != worker)
    psutil.Process(victim).kill()
    await become(lambda: serving(three) == 3 and victim not in children(three), "it stays away")
    assert read("process_crashes_total") == {crashes + 1}
    assert read("start_time_seconds") == {began}


async def test_background_work_is_done_by_one_process_and_goes_on_when_that_dies(
    three: Server,
) -> None:
    before = read_work(three)
    worker = int(before[-1].split()[1])
    assert worker in children(three)
    psutil.Process(worker).kill()
    await become(lambda: len(read_work(three)) > len(before), "the work did not go on")
    (added,) = read_work(three)[len(before) :]
    word, pid = added.split()
    assert word == "begin"
    assert int(pid) in children(three) - {worker}
    await become(lambda: serving(three) == 3, "it did not come back")


async def test_sighup_replaces_every_process_and_connections_are_taken_throughout(
    three: Server, user_token: str
) -> None:
    before, work = children(three), read_work(three)
    answers = Counter[str]()

    async def knock() -> None:
        while True:
            async with httpx.AsyncClient(timeout=TIMEOUT, verify=False) as http:
                answers[str((await http.get(f"{three.http}/livez")).status_code)] += 1
            async with open_client(f"{three.ws}/ws/broadcast/knock/", user_token) as client:
                try:
                    answers[(await client.receive())["type"]] += 1
                except ConnectionClosed as error:
                    answers[str(error.rcvd and error.rcvd.code)] += 1
            await asyncio.sleep(0.02)

    async with connected(three, user_token, "rolled", 12) as sessions:
        knocking = asyncio.create_task(knock())
        three.process.send_signal(signal.SIGHUP)
        await become(lambda: serving(three) == 3 and not before & children(three), "not replaced")
        for _, client in sessions:
            assert (await client.wait_closed())[0] == 1012
        assert not knocking.done(), knocking.exception()
        knocking.cancel()
        await asyncio.gather(knocking, return_exceptions=True)
    # A session that came in the very moment is told when to come back.
    assert set(answers) <= {"200", "hello", "1012"}
    assert answers["hello"] > 3
    await become(lambda: len(read_work(three)) >= len(work) + 2, "the work did not go on")
    # The work is never done by two at a time.
    assert read_work(three)[len(work)] == work[-1].replace("begin", "end")
    assert read_work(three)[len(work) + 1].startswith("begin ")
    assert len(read_work(three)) == len(work) + 2


async def test_sigterm_ends_every_process_in_good_order(
    start: Callable[..., Server], user_token: str
) -> None:
    server = start("--drain-delay", "0.5")
    pids = children(server)
    async with connected(server, user_token, "ended", 10) as sessions:
        # As a service manager does it: everyone gets the signal, and the parent passes it on.
        for pid in pids:
            psutil.Process(pid).terminate()
        await become(lambda: server.read_log().count(" draining ") == 2, "no drain")
        server.process.terminate()
        for _, client in sessions:
            assert (await client.wait_closed())[0] == 1012
    assert server.process.wait(TIMEOUT) == 0
    assert not any(map(is_alive, pids))
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


async def test_no_process_outlives_a_killed_parent(
    start: Callable[..., Server], user_token: str
) -> None:
    server = start()
    pids = children(server)
    async with connected(server, user_token, "orphans", 10) as sessions:
        server.process.kill()
        for _, client in sessions:
            assert (await client.wait_closed())[0] == 1012
    await become(lambda: not any(map(is_alive, pids)), "processes are left")


def test_ipv6_and_a_unix_socket_are_shared_too_with_a_long_backlog(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    server = start("--bind", "::", "--unix-socket", str(path))
    targets = ((socket.AF_INET6, ("::1", server.port)), (socket.AF_UNIX, str(path)))
    # What one process does to its sockets at its end does not end the sharing.
    first, second = children(server)
    psutil.Process(first).terminate()
    wait_until(lambda: not is_alive(first), "it did not end")
    for family, address in targets:
        with socket.socket(family) as client:
            client.settimeout(TIMEOUT)
            client.connect(address)  # type: ignore[arg-type]
            client.sendall(b"GET /livez HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.0 200"), family
    psutil.Process(second).suspend()  # nobody accepts now
    with contextlib.ExitStack() as stack:
        stack.callback(psutil.Process(second).resume)
        for family, address in 200 * targets:
            client = stack.enter_context(socket.socket(family))
            client.settimeout(0.5)
            client.connect(address)  # type: ignore[arg-type]
    assert server.stop() == 0
    assert not path.exists()


def test_the_parent_gives_up_at_once_on_arguments_that_nobody_understands(shared: Project) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "serve", "--port", "0", "--processes", "2", "--nonsense"],
        cwd=ROOT,
        env=shared.full_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 1
    assert done.stdout.count("unrecognized arguments: --nonsense") == 1
    assert "giving up" in done.stdout


# The parent with small scripts in place of servers. Each begins by writing its process id and when.


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts run, and write, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)


with_scripts = pytest.mark.usefixtures("own_folder")

SCRIPT = """
import os, signal, socket, sys, time
parent = socket.socket(fileno=int(sys.argv[-1]))
open("pids", "a").write(f"{os.getpid()} {time.monotonic()}\\n")
serve = lambda: parent.send(b"1")
"""
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN); serve(); time.sleep(60)"


@asynccontextmanager
async def supervised(
    script: str, *, drain_seconds: float = 20
) -> AsyncIterator["asyncio.Task[int]"]:
    """A parent of one such script; at the end it is told to end, and no process is left."""
    command = [sys.executable, "-S", "-c", SCRIPT + script]
    supervisor = Supervisor(command, [], count=1, background=[], drain_seconds=drain_seconds)
    running = asyncio.create_task(supervisor.run())
    try:
        await become(lambda: len(read_pids()) > 0, "no process")
        yield running
    finally:
        if not running.done():
            signal.raise_signal(signal.SIGTERM)
        await running
    assert not any(map(is_alive, read_pids()))


def read_begins() -> list[tuple[int, float]]:
    """The processes that began so far, and when, in monotonic seconds."""
    path = Path("pids")
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(pid), float(began)) for pid, began in map(str.split, lines)]


def read_pids() -> list[int]:
    return [pid for pid, _ in read_begins()]


@with_scripts
async def test_the_delay_before_a_restart_doubles(caplog: pytest.LogCaptureFixture) -> None:
    async with supervised("serve()"):
        await become(lambda: len(read_pids()) == 3, "no restart")
    times = [began for _, began in read_begins()]
    first, second = (after - before for before, after in itertools.pairwise(times[:3]))
    assert first > 0.49
    assert second > 0.99
    delays = re.findall(r"starting another in (\S+) s", caplog.text)
    assert delays[:2] == ["0.5", "1.0"]


@with_scripts
async def test_the_parent_gives_up_on_a_process_that_cannot_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with supervised("sys.exit(3)") as running:
        assert await asyncio.wait_for(running, TIMEOUT) == 1
    assert len(read_pids()) == 3
    assert "giving up: process 0 failed to start (exit code 3), 3 in a row" in caplog.text


@with_scripts
async def test_a_second_signal_ends_all_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async with supervised(STUBBORN, drain_seconds=600) as running:
        await become(lambda: "process serves" in caplog.text, "does not serve")
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        assert all(map(is_alive, read_pids()))
        signal.raise_signal(signal.SIGINT)
        assert await asyncio.wait_for(running, TIMEOUT) == 1


@with_scripts
async def test_a_process_that_does_not_drain_is_killed_in_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("realtime.server.processes.EXTRA_SECONDS", 0.1)
    async with supervised(STUBBORN, drain_seconds=0.1) as running:
        await become(lambda: "process serves" in caplog.text, "does not serve")
        signal.raise_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running, TIMEOUT) == 0
    assert "did not end in time: killing it" in caplog.text


@with_scripts
async def test_a_replacement_that_does_not_serve_leaves_the_old_process_in_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with supervised(
        "len(open('pids').readlines()) > 1 and sys.exit(3); serve(); time.sleep(60)"
    ) as running:
        await become(lambda: "process serves" in caplog.text, "does not serve")
        signal.raise_signal(signal.SIGHUP)
        await become(lambda: "keeping the old ones" in caplog.text, "not told")
        first, second = read_pids()
        await become(lambda: not is_alive(second), "it is left")
        assert is_alive(first)
        signal.raise_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running, TIMEOUT) == 0
