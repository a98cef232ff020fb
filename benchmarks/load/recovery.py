"""Recovery: an instance is killed, and all its clients come back to another one at once."""

import contextlib
import json
import os
import signal
import socket
import time
from typing import Any

from benchmarks.load.connect import Opened, open_connections
from benchmarks.load.crowd import pick_name
from benchmarks.load.idle import FIRST
from benchmarks.load.job import Job
from benchmarks.load.publish import Publishers
from benchmarks.load.wire import LoadError, close_all, read_frame
from benchmarks.measure import wait_until_quiet

# Publications before the clients come, and while they are away.
BEFORE = 10
MISSED = 300
IN_FLIGHT = 64
CLOSE_TIMEOUT = 5.0


def run(job: Job) -> list[dict[str, Any]]:
    """How long until `connections` clients are live again, beside their plain connects before."""
    # Imported late: no other job needs a client of Redis.
    from redis import Redis

    dying, living = job.parts
    name, count = pick_name(), job.connections
    path, greetings = job.paths.subscribe.format(name=name), job.paths.subscriber_greetings
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis(port=living.redis_port))
        publishers = Publishers(living, [name], IN_FLIGHT)
        stack.callback(publishers.close)
        publishers.publish(BEFORE)
        for part in job.parts:
            _warm_up(part)

        watch = dying.start_watch()
        # All at once: the clients of an instance that dies have nothing else to wait for.
        opened = open_connections(
            dying.target, [path] * count, greetings=greetings, concurrency=count
        )
        plain = watch.read()
        epoch, offset = _read_position(opened)
        os.kill(dying.server[0], signal.SIGKILL)
        _wait_until_closed(opened.sockets)
        publishers.publish(MISSED)
        wait_until_quiet(living.server)

        reads, watch = _count_reads(redis), living.start_watch()
        back = open_connections(
            living.target,
            [f"{path}?epoch={epoch}&offset={offset}"] * count,
            greetings=greetings + MISSED,
            concurrency=count,
        )
        usage, reads = watch.read(), _count_reads(redis) - reads
        stack.callback(close_all, back.sockets)
        _check_recovered(back, offset)
        publishers.publish(1)
        _check_live(back.sockets, offset + MISSED + 1)
        publishers.check()
    return [
        {
            "connections": count,
            "missed": MISSED,
            "recovery_seconds": usage.seconds,
            "recoveries_per_second": count / usage.seconds,
            "connects_per_second": count / plain.seconds,
            "against_connects": plain.seconds / usage.seconds,
            "server_cpu_us": usage.server / count * 1e6,
            "connect_cpu_us": plain.server / count * 1e6,
            "redis_cpu_us": usage.redis / count * 1e6,
            "history_reads": reads,
            "generator_share": usage.generator_share,
        }
    ]


def _warm_up(job: Job) -> None:
    """What a server loads or makes for its first sessions is not counted."""
    paths = [job.paths.subscribe.format(name=pick_name())] * FIRST
    close_all(open_connections(job.target, paths, greetings=job.paths.subscriber_greetings).sockets)
    time.sleep(job.settle)
    wait_until_quiet(job.server)


def _read_position(opened: Opened) -> tuple[str, int]:
    """Where all the clients are."""
    positions = set()
    for *_, text in opened.greetings:
        subscribed = json.loads(text)
        positions.add((subscribed["epoch"], subscribed["next"] - 1))
    if len(positions) != 1:
        raise LoadError(f"new clients were told different positions: {positions}")
    return positions.pop()


def _wait_until_closed(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.settimeout(CLOSE_TIMEOUT)
        with contextlib.suppress(ConnectionResetError):
            if data := sock.recv(4096):
                raise LoadError(f"the killed server had sent more: {data!r}")
        sock.close()


def _count_reads(redis: Any) -> int:
    """Calls of XRANGE so far: a page that is read takes one for each 16 publications."""
    return int(redis.info("commandstats").get("cmdstat_xrange", {}).get("calls", 0))


def _check_recovered(back: Opened, offset: int) -> None:
    """Everybody was promised, and got, each publication from `offset` on, once and in order."""
    first = back.greetings[0][-MISSED:]
    numbers = [json.loads(text)["offset"] for text in first]
    if numbers != list(range(offset + 1, offset + 1 + MISSED)):
        raise LoadError("the first client did not get what it had missed")
    for greetings in back.greetings:
        if json.loads(greetings[-MISSED - 1])["recovered"] is not True:
            raise LoadError(f"a client did not recover: {greetings[-MISSED - 1]!r}")
        if greetings[-MISSED:] != first:
            raise LoadError("a client got something else than the first one")


def _check_live(sockets: list[socket.socket], offset: int) -> None:
    """Everybody gets the next publication."""
    for sock in sockets:
        sock.settimeout(CLOSE_TIMEOUT)
        data = b""
        while (frame := read_frame(data)) is None:
            data += sock.recv(4096)
        if json.loads(frame[1])["offset"] != offset or frame[2] != len(data):
            raise LoadError(f"after its recovery a client got {data!r}")
