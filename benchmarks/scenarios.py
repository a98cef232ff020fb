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
    OURS_GROUP_SEND,
    OURS_JOINED,
    OURS_MEMORY,
    OURS_NO_HISTORY,
    OURS_REDIS,
    OURS_UNTRACKED,
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
    turn_seconds: float = 1.0
    turn_warmup: float = 0.1
    rounds: int = 7  # odd: a median is one of them
    recovering: int = 1000
    coming: int = 250
    coming_rounds: int = 11  # many short ones: what disturbs a round meets its neighbour too
    settle: float = 0.5
    quiet: float = 15.0  # at most so long is waited for a server to come to rest
    isolates: bool = True  # whether memory and connects are measured on processes of their own
    budget: float = 570.0  # no measurement begins later, or goes on much longer


FULL = Scale()
QUICK = Scale(
    seconds=0.2,
    warmup=0.05,
    many=300,
    idle=300,
    more_idle=100,
    latency_seconds=0.5,
    turn_seconds=0.2,
    turn_warmup=0.05,
    rounds=3,
    recovering=100,
    coming=50,
    coming_rounds=3,
    settle=0.1,
    quiet=0.3,
    isolates=False,
)


@dataclass(frozen=True)
class Run:
    """One server in one scenario; `fresh` gives it a process of its own.

    Where `others` are named, one job has to do with all of them; `kills` says that not all of
    their processes will outlive it.
    """

    server: str
    kind: str
    options: dict[str, Any]
    fresh: bool = False
    arrays: bool = False
    anonymous: bool = False
    label: str = ""
    others: tuple[str, ...] = ()
    kills: bool = False


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


def list_history(scale: Scale) -> list[Run]:
    """What history costs: our server with it and without, in turn."""
    options = {
        "connections": 200,
        "in_flight": [16],
        "seconds": scale.turn_seconds,
        "warmup": scale.turn_warmup,
        "rounds": scale.rounds,
    }
    others = (OURS_NO_HISTORY, OURS_GROUP_SEND, OURS_JOINED)
    return [Run(OURS_REDIS, "in_turns", options, fresh=True, others=others)]


def list_publish(scale: Scale) -> list[Run]:
    """Publications with acks: one publisher, 50 on a topic, 50 on as many topics."""
    one: dict[str, Any] = {"connections": 1, "in_flight": [64]}
    many: dict[str, Any] = {"connections": 50, "in_flight": [4]}
    return [
        Run(name, "publish", options, label=label)
        for label, options in (
            ("1 publisher", one),
            ("50 publishers", many),
            ("50 publishers, 50 topics", many | {"topics": 50}),
        )
        for name in (OURS_MEMORY, OURS_REDIS, CHANNELS)
    ]


def list_recovery(scale: Scale) -> list[Run]:
    """1,000 clients of an instance that is killed come back to another one."""
    options = {"connections": scale.recovering}
    return [Run(OURS_REDIS, "recovery", options, fresh=True, others=(OURS_REDIS,), kills=True)]


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


def list_sessions(scale: Scale) -> list[Run]:
    """What tracking sessions in the database costs: our server with it and without, in turn."""
    options = {"connections": scale.coming, "topics": 50, "rounds": scale.coming_rounds}
    return [Run(OURS_MEMORY, "sessions", options, fresh=True, others=(OURS_UNTRACKED,))]


def list_arrays(scale: Scale) -> list[Run]:
    """Arrays of 8 MB, two under way, to one subscriber."""
    names = (OURS_MEMORY, OURS_REDIS, BROADCAST, PICOWS)
    return [Run(name, "arrays", {}, fresh=True, arrays=True) for name in names]


SCENARIOS: dict[str, Callable[[Scale], list[Run]]] = {
    "fan-out-200": list_fan_out_200,
    "history": list_history,
    "publish": list_publish,
    "recovery": list_recovery,
    "latency": list_latency,
    "echo": list_echo,
    "fan-out-3000": list_fan_out_many,
    "idle": list_idle,
    "sessions": list_sessions,
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
    names = (run.server, *run.others)
    label: Row = {"label": run.label} if run.label else {}
    started: list[Server] = []
    fresh = run.kills or (run.fresh and scale.isolates)
    try:
        if left <= 0:
            raise BenchmarkError("the time for the whole run was over")
        jobs = []
        for name in names:
            server = servers.start(name) if fresh else servers.get(name)
            started.append(server)
            job = server.build_job(run.kind, arrays=run.arrays, anonymous=run.anonymous)
            scaled = {name: getattr(scale, name) for name in ("seconds", "warmup", "settle")}
            jobs.append(replace(job, **scaled | run.options))
        job = replace(jobs[0], parts=jobs) if run.others else jobs[0]
        results = run_job(job, timeout=min(_find_timeout(job), left + 25))
    except BenchmarkError as error:
        return [{"server": name, **label, "error": str(error)} for name in dict.fromkeys(names)]
    finally:
        for server in started:
            if fresh:
                servers.stop(server)
            wait_until_quiet(server.running, timeout=scale.quiet)
    bound = GENERATOR_BOUND
    return [
        {
            "server": names[result.pop("part", 0)],
            **label,
            **result,
            "generator_bound": result["generator_share"] >= bound,
        }
        for result in results
    ]


def _find_timeout(job: Job) -> float:
    phases = max(1, len(job.in_flight)) + job.rounds * len(job.parts) // 10
    connects = (job.connections + job.more_connections) / 100
    return 30 + connects + phases * (job.seconds + job.warmup + 45)
