"""Sessions that come and go, on several servers in turn: what each costs, its row included."""

from typing import Any

from benchmarks.load.connect import open_connections
from benchmarks.load.idle import FIRST
from benchmarks.load.job import Job
from benchmarks.load.turns import take_turns
from benchmarks.load.wire import close_all
from benchmarks.measure import wait_until_quiet


def run(job: Job) -> list[dict[str, Any]]:
    """`connections` on `topics` topics, opened and closed again in each round."""
    for part in job.parts:
        _measure(part, FIRST)  # what a server loads or makes for its first sessions
    return take_turns(
        job,
        lambda index: _measure(job.parts[index], job.connections),
        connects_by_round="connects_per_second",
        connect_cpu_us_by_round="connect_cpu_us",
        session_cpu_us_by_round="session_cpu_us",
    )


def _measure(part: Job, count: int) -> dict[str, Any]:
    """Rows are written a moment later: CPU time is read when the server has come to rest."""
    names = [f"session-{number}" for number in range(part.topics)]
    paths = [part.paths.subscribe.format(name=names[index % part.topics]) for index in range(count)]
    watch = part.start_watch()
    opened = open_connections(part.target, paths, greetings=part.paths.subscriber_greetings)
    generator_share = watch.read().generator_share
    wait_until_quiet(part.server)
    opening = watch.read()
    close_all(opened.sockets)
    wait_until_quiet(part.server)
    whole = watch.read()
    return {
        "connections": count,
        "connects_per_second": count / opened.seconds,
        "connect_cpu_us": opening.server / count * 1e6,
        "session_cpu_us": whole.server / count * 1e6,
        "generator_share": generator_share,
    }
