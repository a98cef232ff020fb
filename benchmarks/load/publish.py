"""Publishing with acks: how many publications a second are accepted, and what each costs."""

import json
import select
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from benchmarks.load.connect import open_connections
from benchmarks.load.crowd import build_payload, pick_name
from benchmarks.load.job import Job
from benchmarks.load.wire import TEXT, LoadError, build_frame, close_all, read_frame

DRAIN_TIMEOUT = 20.0
# Once in each ack, and in nothing else.
MARK = b'"ack"'


def run(job: Job) -> list[dict[str, Any]]:
    """`connections` publishers on `topics` topics, to which nobody has subscribed."""
    (in_flight,) = job.in_flight
    names = [pick_name() for _ in range(job.topics)]
    publishers = Publishers(
        job, [names[index % job.topics] for index in range(job.connections)], in_flight
    )
    try:
        publishers.push(job.warmup)
        before, watch = publishers.acknowledged, job.start_watch()
        publishers.push(job.seconds)
        usage, count = watch.read(), publishers.acknowledged - before
        publishers.drain()
        publishers.check()
    finally:
        publishers.close()
    return [
        {
            "connections": job.connections,
            "topics": job.topics,
            "in_flight": in_flight,
            "publications": count,
            "publications_per_second": count / usage.seconds,
            "server_cpu_us": usage.server / max(count, 1) * 1e6,
            "redis_cpu_us": usage.redis / max(count, 1) * 1e6,
            "generator_share": usage.generator_share,
        }
    ]


class Publishers:
    """One connection for each of `names`, the topics (a name may come several times).

    Each has at most `in_flight` publications that are not acknowledged. Acks are counted while
    they come, and read in full by `check()`.
    """

    def __init__(self, job: Job, names: Sequence[str], in_flight: int) -> None:
        self.acknowledged = 0
        self._names, self._in_flight = names, in_flight
        self._sent, self._acked = [0] * len(names), [0] * len(names)
        self._tails = [b""] * len(names)  # the beginning of a mark may be there
        self._kept: list[list[bytes]] = [[] for _ in names]
        self._sockets = open_connections(
            job.target,
            [job.paths.acknowledge.format(name=name) for name in names],
            greetings=job.paths.publisher_greetings,
        ).sockets
        self._poller = select.epoll()
        self._index: dict[int, int] = {}
        for index, sock in enumerate(self._sockets):
            self._index[sock.fileno()] = index
            self._poller.register(sock, select.EPOLLIN)

    def close(self) -> None:
        """Close every connection."""
        close_all(self._sockets)

    def push(self, seconds: float) -> None:
        """Keep as many in flight as may be."""
        end = time.monotonic() + seconds
        for index in range(len(self._sockets)):
            self._fill(index)
        while (now := time.monotonic()) < end:
            for index in self._take(end - now):
                self._fill(index)

    def publish(self, count: int) -> None:
        """Let the first one publish `count`, and wait for the acks."""
        goal = self._sent[0] + count
        deadline = time.monotonic() + DRAIN_TIMEOUT
        while self._acked[0] < goal:
            self._fill(0, most=goal - self._sent[0])
            self._take(0.1)
            if time.monotonic() > deadline:
                self._complain()

    def drain(self) -> None:
        """Wait for the acks of all that was sent."""
        deadline = time.monotonic() + DRAIN_TIMEOUT
        while self._acked != self._sent:
            self._take(0.1)
            if time.monotonic() > deadline:
                self._complain()

    def check(self) -> None:
        """Read the acks: one for each publication, in order; the offsets of a topic are whole."""
        offsets: defaultdict[str, list[int]] = defaultdict(list)
        for name, sent, kept in zip(self._names, self._sent, self._kept, strict=True):
            acks = [json.loads(text) for text in _split(b"".join(kept))]
            if [ack["ref"] for ack in acks] != list(range(sent)):
                raise LoadError("acks came twice, or in another order than the publications")
            own = [ack["offset"] for ack in acks if ack.get("offset") is not None]
            if own != sorted(own):
                raise LoadError("a publisher's offsets do not rise")
            offsets[name] += own
        for name, all_of_topic in offsets.items():
            if all_of_topic and sorted(all_of_topic) != list(range(1, len(all_of_topic) + 1)):
                raise LoadError(f"the offsets of {name} have holes, or some came twice")

    def _fill(self, index: int, most: int = 1 << 31) -> None:
        number = self._sent[index]
        free = min(self._in_flight - number + self._acked[index], most)
        if free > 0:
            # So little is in flight that the socket always takes it.
            frames = map(_build_publication, range(number, number + free))
            self._sockets[index].sendall(b"".join(frames))
            self._sent[index] += free

    def _take(self, timeout: float) -> list[int]:
        """Read what has come; returns the publishers that got something."""
        indexes = [self._index[fd] for fd, _ in self._poller.poll(timeout)]
        for index in indexes:
            data = self._sockets[index].recv(65_536)
            if not data:
                raise LoadError("the server closed a publisher")
            self._kept[index].append(data)
            window = self._tails[index] + data
            count = window.count(MARK)
            self._tails[index] = window[1 - len(MARK) :]
            self._acked[index] += count
            self.acknowledged += count
        return indexes

    def _complain(self) -> None:
        last = max((kept[-1] for kept in self._kept if kept), key=len, default=b"")
        missing = sum(self._sent) - self.acknowledged
        raise LoadError(f"{missing} acks are missing; the last that came was {last[-200:]!r}")


def _build_publication(number: int) -> bytes:
    message = b'{"type":"publish","ref":%d,"data":%s}' % (number, build_payload(number))
    return build_frame(TEXT, message)


def _split(data: bytes) -> list[bytes]:
    """The payloads of frames; raises LoadError where the last one is not whole."""
    payloads, position = [], 0
    while frame := read_frame(data, position):
        _, payload, position = frame
        payloads.append(payload)
    if position != len(data):
        raise LoadError("the last ack is not whole")
    return payloads
