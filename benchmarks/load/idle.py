"""Idle connections: how fast they open, and what each costs while nothing happens."""

import time
from typing import Any

from benchmarks.load.connect import open_connections
from benchmarks.load.job import Job
from benchmarks.load.wire import close_all
from benchmarks.measure import read_memory, read_private_memory, wait_until_quiet

# Opened first, so that what a server loads or makes once is not counted.
FIRST = 50


def run(job: Job) -> list[dict[str, Any]]:
    """Open `connections` on `topics` topics (or echo), wait, and weigh the server."""

    def list_paths(count: int) -> list[str]:
        if job.is_echo:
            return [job.paths.echo] * count
        names = [f"idle-{number}" for number in range(job.topics)]
        return [
            job.paths.subscribe.format(name=names[index % job.topics]) for index in range(count)
        ]

    greetings = 0 if job.is_echo else job.paths.subscriber_greetings
    sockets = open_connections(job.target, list_paths(FIRST), greetings=greetings).sockets
    try:
        wait_until_quiet(job.server)
        memory, private = read_memory(job.server), read_private_memory(job.server)
        watch = job.start_watch()
        opened = open_connections(job.target, list_paths(job.connections), greetings=greetings)
        usage = watch.read()
        sockets += opened.sockets
        time.sleep(2 * job.settle)  # so that what opening began has begun
        wait_until_quiet(job.server)
        count = job.connections
        result = {
            "connections": count,
            "connects_per_second": count / opened.seconds,
            "server_cpu_us": usage.server / count * 1e6,
            "rss_bytes": (read_memory(job.server) - memory) / count,
            "uss_bytes": (read_private_memory(job.server) - private) / count,
            "generator_share": usage.generator_share,
        }
        more = list_paths(job.more_connections)
        sockets += open_connections(job.target, more, greetings=greetings).sockets
        # A closed socket would be readable: everybody is still there.
        result["held"] = sum(not _is_closed(sock) for sock in sockets)
        return [result]
    finally:
        close_all(sockets)


def _is_closed(sock: Any) -> bool:
    try:
        return not sock.recv(65_536)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
