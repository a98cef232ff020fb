"""What a server's process holds, as the kernel tells it, and waiting for what it does."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.servers import Server


def measure_memory(server: Server) -> float:
    """The resident memory, in MiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def count_files(server: Server) -> int:
    """The open file descriptors: each connection is one."""
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def children(server: Server) -> set[int]:
    """The ids of the processes that a parent has."""
    return {child.pid for child in psutil.Process(server.process.pid).children(recursive=True)}


def serving(server: Server) -> int:
    """How many of them serve, by the log."""
    told = re.findall(r"process serves number=\d+ child=(\d+)", server.read_log())
    return len(children(server) & {int(pid) for pid in told})


def wait_until(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    """Wait until a condition holds; fail where it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.02)
