"""What a process costs: CPU seconds, memory, and percentiles of what was measured."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


def read_cpu(pids: Iterable[int]) -> float:
    """CPU seconds (user and system) of processes and their children so far."""
    total = 0.0
    for process in _find_processes(pids):
        times = process.cpu_times()
        total += times.user + times.system
    return total


def read_private_memory(pids: Iterable[int]) -> int:
    """Bytes that would be free if the processes ended (USS)."""
    return sum(process.memory_full_info().uss for process in _find_processes(pids))


def read_memory(pids: Iterable[int]) -> int:
    """Resident bytes (RSS)."""
    return sum(process.memory_info().rss for process in _find_processes(pids))


def reset_peak(pid: int) -> None:
    """Let the kernel begin anew with the peak of resident memory."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def read_peak(pid: int) -> int:
    """The most resident bytes of a process since `reset_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no VmHWM")


def wait_until_quiet(pids: Sequence[int], *, timeout: float = 15.0) -> None:
    """Wait until processes use less than a twentieth of a core, but no longer than `timeout`."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            before = read_cpu(pids)
            time.sleep(0.3)
            if read_cpu(pids) - before < 0.015:
                return
        except psutil.NoSuchProcess:
            return  # ended: nothing is quieter


def find_percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of values, which need not be sorted; NaN without any."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    rank = max(0, min(len(ordered) - 1, round(percent / 100 * len(ordered) + 0.5) - 1))
    return ordered[rank]


def _find_processes(pids: Iterable[int]) -> list[psutil.Process]:
    parents = [psutil.Process(pid) for pid in pids]
    return parents + [child for parent in parents for child in parent.children(recursive=True)]


@dataclass(frozen=True)
class Usage:
    """What a stretch of time took: wall seconds, and CPU seconds of three parties."""

    seconds: float
    server: float
    redis: float
    generator: float

    @property
    def generator_share(self) -> float:
        """How busy the generator was, of one core."""
        return self.generator / self.seconds


class Stopwatch:
    """Measures a stretch of time of a server, Redis and this process."""

    def __init__(self, server: Sequence[int], redis: Sequence[int]) -> None:
        self._server, self._redis = server, redis
        self._began = self._read()

    def read(self) -> Usage:
        """What has been used since the beginning."""
        now = self._read()
        return Usage(*(after - before for after, before in zip(now, self._began, strict=True)))

    def _read(self) -> tuple[float, float, float, float]:
        return (
            time.monotonic(),
            read_cpu(self._server),
            read_cpu(self._redis),
            time.process_time(),
        )
