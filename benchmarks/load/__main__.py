"""Reads a job from standard input, does it, writes the results to standard output, as JSON."""

import sys
from collections.abc import Callable
from typing import Any

import msgspec
import psutil

from benchmarks.load import arrays, echo, fan_out, idle, publish, recovery, sessions, turns
from benchmarks.load.job import Job
from benchmarks.load.wire import LoadError

KINDS: dict[str, Callable[[Job], list[dict[str, Any]]]] = {
    "arrays": arrays.run,
    "echo": echo.run,
    "idle": idle.run,
    "in_flight": fan_out.run_in_flight,
    "in_turns": turns.run,
    "publish": publish.run,
    "rate": fan_out.run_rate,
    "recovery": recovery.run,
    "sessions": sessions.run,
}


def main() -> int:
    """The exit code is 1, with a line on standard error, where the server did not do its part."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    try:
        results = KINDS[job.kind](job)
    except (LoadError, ConnectionError, psutil.Error) as error:
        sys.stderr.write(f"{error or type(error).__name__}\n")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
