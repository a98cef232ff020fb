"""What is measured: each scenario asks its servers the same, one after another."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.load.job import Job
from benchmarks.measure import wait_until_quiet
from benchmarks.processes import BenchmarkError, run_job
from benchmarks.servers import (
    BROADCAST,
    BUN,
    CHANNELS,
    GATHER,
    OURS_MEMORY,
    OURS_REDIS,
    PICOWS,
    PREBUILT,
    Server,
    Servers,
)

Row = dict[str, Any]
# From this share of a core on, a figure may be the generator's rather than the server's.
GENERATOR_BOUND = 0.9


@dataclass(frozen=True)
class Scale:
    """How long and how large; `--quick` makes everything small."""

    seconds: float = 3.0
    warmup: float = 0.5
    many: int = 3000
    idle: int = 5000
    more_idle: int = 5000
    latency_seconds: float = 8.0
    settle: float = 0.5
    quiet: float = 15.0  # at most so long is waited for a server to come to rest
    isolates: bool = True  # whether memory and connects are measured on processes of their own
    budget: float = 510.0  # no measurement begins later, or goes on much longer


FULL = Scale()
QUICK = Scale(
    seconds=0.2,
    warmup=0.05,
    many=300,
    idle=300,
    more_idle=100,
    latency_seconds=0.5,
    settle=0.1,
    quiet=0.3,
    isolates=False,
)


@dataclass(frozen=True)
class Run:
    """One server in one scenario; `fresh` gives it a process of its own."""

    server: str
    kind: str
    options: dict[str, Any]
    fresh: bool = False
    arrays: bool = False
    anonymous: bool = False
    label: str = ""


def list_fan_out_200(scale: Scale) -> list[Run]:
    """200 subscribers; 1, 4 and 16 publications in flight."""
    options = {"connections": 200, "in_flight": [1, 4, 16]}
    names = (OURS_MEMORY, OURS_REDIS, CHANNELS, BROADCAST, GATHER, PICOWS, BUN, PREBUILT)
    return [Run(name, "in_flight", options) for name in names]


def list_fan_out_many(scale: Scale) -> list[Run]:
    """3,000 subscribers; 1 and 16 publications in flight."""
    options = {"connections": scale.many, "in_flight": [1, 16]}
    names = (OURS_MEMORY, OURS_REDIS, CHANNELS, BROADCAST, PREBUILT)
    return [Run(name, "in_flight", options) for name in names]


def list_latency(scale: Scale) -> list[Run]:
    """100 publications a second to 200 subscribers."""
    options = {"connections": 200, "rate": 100.0, "seconds": scale.latency_seconds}
    names = (OURS_MEMORY, OURS_REDIS, CHANNELS, BROADCAST, PICOWS)
    return [Run(name, "rate", options) for name in names]


def list_echo(scale: Scale) -> list[Run]:
    """50 connections, one message under way on each."""
    names = (OURS_MEMORY, CHANNELS, BROADCAST, PICOWS, BUN)
    return [Run(name, "echo", {"connections": 50}) for name in names]


def list_idle(scale: Scale) -> list[Run]:
    """Idle connections on 50 topics, and on echo for a comparison without tokens."""
    topics = {"connections": scale.idle, "topics": 50}
    echo = {"connections": scale.idle * 2 // 5, "is_echo": True}
    more = {"more_connections": scale.more_idle}
    return [
        Run(OURS_MEMORY, "idle", topics | more, fresh=True, label="topics"),
        Run(OURS_REDIS, "idle", topics, fresh=True, label="topics"),
        Run(CHANNELS, "idle", topics, fresh=True, label="topics"),
        Run(BROADCAST, "idle", topics, fresh=True, label="topics"),
        Run(OURS_MEMORY, "idle", echo, fresh=True, anonymous=True, label="echo"),
        Run(CHANNELS, "idle", echo, fresh=True, label="echo"),
        Run(BROADCAST, "idle", echo, fresh=True, label="echo"),
    ]


def list_arrays(scale: Scale) -> list[Run]:
    """Arrays of 8 MB, two under way, to one subscriber."""
    names = (OURS_MEMORY, OURS_REDIS, BROADCAST, PICOWS)
    return [Run(name, "arrays", {}, fresh=True, arrays=True) for name in names]


SCENARIOS: dict[str, Callable[[Scale], list[Run]]] = {
    "fan-out-200": list_fan_out_200,
    "latency": list_latency,
    "echo": list_echo,
    "fan-out-3000": list_fan_out_many,
    "idle": list_idle,
    "arrays": list_arrays,
}


def run_scenarios(names: Sequence[str], scale: Scale, tell: Callable[[str], None]) -> list[Row]:
    """Run scenarios one by one; a server that fails has a row with `error`."""
    rows: list[Row] = []
    began = time.monotonic()
    with Servers() as servers:
        for name in names:
            for run in SCENARIOS[name](scale):
                tell(f"{name}: {run.server}{f', {run.label}' if run.label else ''}")
                left = began + scale.budget - time.monotonic()
                results = _run(servers, run, scale, left)
                rows.extend({"scenario": name, **result} for result in results)
    return rows


def _run(servers: Servers, run: Run, scale: Scale, left: float) -> list[Row]:
    head: Row = {"server": run.server, **({"label": run.label} if run.label else {})}
    server: Server | None = None
    fresh = run.fresh and scale.isolates
    try:
        if left <= 0:
            raise BenchmarkError("the time for the whole run was over")
        server = servers.start(run.server) if fresh else servers.get(run.server)
        job = server.build_job(run.kind, arrays=run.arrays, anonymous=run.anonymous)
        scaled = {name: getattr(scale, name) for name in ("seconds", "warmup", "settle")}
        job = replace(job, **scaled | run.options)
        results = run_job(job, timeout=min(_find_timeout(job), left + 25))
    except BenchmarkError as error:
        return [{**head, "error": str(error)}]
    finally:
        if server is not None:
            if fresh:
                servers.stop(server)
            wait_until_quiet(server.running, timeout=scale.quiet)
    bound = GENERATOR_BOUND
    return [
        {**head, **result, "generator_bound": result["generator_share"] >= bound}
        for result in results
    ]


def _find_timeout(job: Job) -> float:
    phases = max(1, len(job.in_flight))
    connects = (job.connections + job.more_connections) / 100
    return 30 + connects + phases * (job.seconds + job.warmup + 45)
