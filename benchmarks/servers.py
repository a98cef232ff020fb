"""The servers that are compared, and how each is started."""

import importlib.util
import secrets
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from benchmarks.load.job import Job, Paths
from benchmarks.measure import wait_until_quiet
from benchmarks.processes import (
    BenchmarkError,
    Process,
    build_environment,
    find_bun,
    find_free_port,
    raise_file_limit,
    run_manage,
    start_redis,
)

OURS_MEMORY = "this server, in memory"
OURS_UNTRACKED = "this server, in memory, sessions not tracked"
OURS_REDIS = "this server, Redis"
OURS_NO_HISTORY = "this server, Redis, no history"
OURS_GROUP_SEND = "this server, Redis, group_send for each"
OURS_JOINED = "this server, Redis, group_send for each, joined"
CHANNELS = "Channels on daphne, Redis"
BROADCAST = "websockets broadcast"
GATHER = "websockets gather"
PICOWS = "picows"
BUN = "Bun"
PREBUILT = "ready bytes (calibration)"

# As it is deployed (a debugging Django keeps every query in memory), but without limits, and
# with no pings within a measurement.
DEPLOYED = {
    "DJANGO_DEBUG": "false",
    "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
    "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
    "JWT_SIGNING_KEY": secrets.token_urlsafe(50),
    "REALTIME_MESSAGES_PER_SECOND": "0",
    "REALTIME_BYTES_PER_SECOND": "0",
    "REALTIME_CONNECTIONS_PER_USER": "0",
    "REALTIME_CONNECTIONS_PER_ADDRESS": "0",
    "REALTIME_HANDSHAKES_PER_SECOND": "0",
    "REALTIME_ECHO_POLICY": "anyone",
}
PING_INTERVAL = "600"
OUR_PATHS = Paths(
    publish="/ws/broadcast/{name}/?subscribe=0",
    acknowledge="/ws/broadcast/{name}/?subscribe=0",
    subscriber_greetings=2,
    publisher_greetings=1,
)
OUR_ARRAY_PATHS = replace(
    OUR_PATHS, subscribe="/ws/arrays/{name}/", publish="/ws/arrays/{name}/?subscribe=0"
)


@dataclass(frozen=True)
class Variant:
    """Our server: over Redis or in memory, and what else differs from how it is deployed."""

    has_redis: bool = True
    settings: str = "project.settings"
    application: tuple[str, ...] = ()  # where it is not the project's own
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """A running server, and the Redis behind it, where there is one."""

    name: str
    process: Process
    redis: Process | None
    token: str | None

    @property
    def running(self) -> list[int]:
        """The ids of its processes that have not ended."""
        processes = [self.process, *([self.redis] if self.redis else [])]
        return [process.pid for process in processes if process.is_running]

    def build_job(self, kind: str, *, arrays: bool = False, anonymous: bool = False) -> Job:
        """A job against this server, to be completed by `dataclasses.replace`."""
        paths = (OUR_ARRAY_PATHS if arrays else OUR_PATHS) if self.name in OURS else Paths()
        return Job(
            kind=kind,
            port=self.process.port,
            server=[self.process.pid],
            redis=[self.redis.pid] if self.redis else [],
            redis_port=self.redis.port if self.redis else 0,
            paths=paths,
            token=None if anonymous else self.token,
        )


class Servers:
    """Starts servers when they are first asked for, and ends them all."""

    def __init__(self) -> None:
        raise_file_limit()
        self._temporary = tempfile.TemporaryDirectory(prefix="realtime-bench-")
        self._folder = Path(self._temporary.name)
        self._processes: list[Process] = []
        self._servers: dict[str, Server] = {}
        self._redis: Process | None = None
        self._token: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.stop()
        self._temporary.cleanup()

    def get(self, name: str) -> Server:
        """The server of that name; raises BenchmarkError where it cannot run here."""
        if name not in self._servers:
            self._servers[name] = self.start(name)
        return self._servers[name]

    def start(self, name: str) -> Server:
        """A fresh one, for what depends on a process's past."""
        missing = find_missing(name)
        if missing:
            raise BenchmarkError(missing)
        server = STARTERS[name](self, name)
        server.process.wait_until_open()
        wait_until_quiet(server.running)
        return server

    def stop(self, server: Server) -> None:
        """End one before the others."""
        server.process.stop()
        self._processes.remove(server.process)

    def start_ours(self, name: str) -> Server:
        """`manage.py serve`, as it is deployed, with its limits lifted, in the variant `OURS` says.

        All have one data folder, and so one SQLite file, users and token.
        """
        variant = OURS[name]
        redis = self._get_redis() if variant.has_redis else None
        variables = {
            "DATA_DIR": str(self._folder / "data"),
            "DJANGO_SETTINGS_MODULE": variant.settings,
            **DEPLOYED,
            **variant.variables,
        }
        if self._token is None:
            environment = build_environment(**variables)
            run_manage("migrate", "--verbosity", "0", environment=environment)
            arguments = ("issue_token", "bench", "--create", "--lifetime", "3600")
            self._token = run_manage(*arguments, environment=environment)
        if redis:
            variables["REDIS_URL"] = f"redis://127.0.0.1:{redis.port}/0"
        port = find_free_port()
        options = ("--port", str(port), "--ping-interval", PING_INTERVAL, *variant.application)
        command = (sys.executable, "manage.py", "serve", *options)
        process = self._launch(name, command, port, variables)
        return Server(name, process, redis, self._token)

    def start_channels(self, name: str) -> Server:
        """Stock daphne."""
        redis, port = self._get_redis(), find_free_port()
        variables = {"REDIS_URL": f"redis://127.0.0.1:{redis.port}/1"}
        application = "benchmarks.peers.channels_idiomatic:application"
        options = ("-p", str(port), "--ping-interval", PING_INTERVAL, application)
        process = self._launch(name, (sys.executable, "-m", "daphne", *options), port, variables)
        return Server(name, process, redis, None)

    def start_python(self, name: str) -> Server:
        """A peer that is a module and takes a port."""
        port = find_free_port()
        command = (sys.executable, "-m", f"benchmarks.peers.{MODULES[name]}", str(port))
        return Server(name, self._launch(name, command, port, {}), None, None)

    def start_bun(self, name: str) -> Server:
        """Bun, with a JavaScript file."""
        port = find_free_port()
        command = (find_bun() or "bun", "run", "benchmarks/peers/bun_server.js", str(port))
        return Server(name, self._launch(name, command, port, {}), None, None)

    def _launch(
        self, name: str, command: tuple[str, ...], port: int, variables: dict[str, str]
    ) -> Process:
        file_name = name.split(" (")[0].replace(", ", "-").replace(" ", "-")
        process = Process(file_name, command, port, self._folder, build_environment(**variables))
        self._processes.append(process)
        return process

    def _get_redis(self) -> Process:
        if self._redis is None:
            self._redis = start_redis(self._folder)
            self._processes.append(self._redis)
        return self._redis


_NO_HISTORY = Variant(settings="benchmarks.peers.no_history")
OURS = {
    OURS_MEMORY: Variant(has_redis=False),
    OURS_UNTRACKED: Variant(has_redis=False, variables={"REALTIME_TRACK_SESSIONS": "false"}),
    OURS_REDIS: Variant(),
    OURS_NO_HISTORY: _NO_HISTORY,
    OURS_GROUP_SEND: replace(
        _NO_HISTORY, application=("benchmarks.peers.hub_group_send:application",)
    ),
    OURS_JOINED: replace(
        _NO_HISTORY, application=("benchmarks.peers.hub_group_send_joined:application",)
    ),
}
MODULES = {
    BROADCAST: "websockets_broadcast",
    GATHER: "websockets_gather",
    PICOWS: "picows_server",
    PREBUILT: "prebuilt",
}
STARTERS: dict[str, Callable[[Servers, str], Server]] = {
    **dict.fromkeys(OURS, Servers.start_ours),
    CHANNELS: Servers.start_channels,
    BUN: Servers.start_bun,
    **dict.fromkeys(MODULES, Servers.start_python),
}
_NEEDS = {BROADCAST: ["uvloop"], GATHER: ["uvloop"], PICOWS: ["uvloop", "picows"]}


def find_missing(name: str) -> str | None:
    """What a server lacks on this machine, or None."""
    if name == BUN and find_bun() is None:
        return "bun is not installed"
    lacking = [module for module in _NEEDS.get(name, []) if not importlib.util.find_spec(module)]
    return f"{', '.join(lacking)} not installed" if lacking else None
