"""Subscribers of one topic and a publisher: who has got how many messages.

Message k is complete at a subscriber when it has got `ends[k]` bytes. The frames of a topic
differ in length only by the digits of their offset, where the server sends one.
"""

import json
import select
import socket
import time
import uuid
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from benchmarks.load.connect import open_connections
from benchmarks.load.job import Job
from benchmarks.load.wire import TEXT, LoadError, build_frame, close_all, read_frame

PAYLOAD_BYTES = 100
BUFFER_BYTES = 256 * 1024

Deliver = Callable[[int, int, float], None]


def build_payload(number: int) -> bytes:
    """A JSON object of exactly PAYLOAD_BYTES, as the tutorial of Channels sends it."""
    empty = len('{"message":""}')
    return b'{"message":"%010d%s"}' % (number, b"x" * (PAYLOAD_BYTES - empty - 10))


def pick_name() -> str:
    """A topic that nobody has used."""
    return uuid.uuid4().hex[:12]


class Crowd:
    """Open connections, and what has arrived at each.

    `counts[i]` is how many messages subscriber i has got, `level` the least of all.
    """

    def __init__(self, job: Job, name: str) -> None:
        paths = [job.paths.subscribe.format(name=name)] * job.connections
        opened = open_connections(
            job.target, paths, greetings=job.paths.subscriber_greetings, timeout=120
        )
        self.sockets = opened.sockets
        self.publisher = open_connections(
            job.target,
            [job.paths.publish.format(name=name)],
            greetings=job.paths.publisher_greetings,
        ).sockets[0]
        # A server without a greeting has answered before it knows of a subscriber.
        time.sleep(job.settle)
        self.counts = [0] * job.connections
        self.level = 0
        self.ends: list[int] = []
        self.sent_at: list[float] = []
        self.frame_bytes = 0
        self._received = [0] * job.connections
        self._behind = job.connections  # how many have got no more than `level`
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._sample: list[bytes] = []  # what the first subscriber got and nobody looked at yet
        self._decoded = 0  # its messages that were looked at
        self._first_offset: int | None = None
        self._index: dict[int, int] = {}
        self._poller = select.epoll()
        for index, sock in enumerate(self.sockets):
            self._index[sock.fileno()] = index
            self._poller.register(sock, select.EPOLLIN)
        self._poller.register(self.publisher, select.EPOLLIN)
        self._receive: list[Callable[..., int]] = [sock.recv_into for sock in self.sockets]
        self._receive[0] = self._take_sample
        self._learn_frame()

    def close(self) -> None:
        """Close every connection."""
        close_all([*self.sockets, self.publisher])

    def publish(self, count: int) -> None:
        """Publish the next `count` messages by one system call."""
        frames = []
        for number in range(len(self.ends), len(self.ends) + count):
            frames.append(build_frame(TEXT, build_payload(number)))
            self.ends.append(self.ends[-1] + self._find_size(number))
        self.publisher.setblocking(True)
        now = time.monotonic()
        self.sent_at += [now] * count
        self.publisher.sendall(b"".join(frames))
        self.publisher.setblocking(False)

    def take(self, timeout: float, deliver: Deliver | None = None) -> int:
        """Read what has come; returns the level.

        `deliver(before, after, now)` is called for each subscriber that got messages.
        """
        index_of, receive, received = self._index, self._receive, self._received
        counts, ends, buffer, level = self.counts, self.ends, self._buffer, self.level
        for fd, _ in self._poller.poll(timeout):
            index = index_of.get(fd)
            if index is None:
                raise LoadError(f"the publisher was told: {self.publisher.recv(4096)!r}")
            size = receive[index](buffer)
            if not size:
                raise LoadError("the server closed a subscriber")
            received[index] = got = received[index] + size
            before = counts[index]
            after = bisect_right(ends, got, before)
            if after != before:
                counts[index] = after
                if before == level:
                    self._behind -= 1
                if deliver is not None:
                    deliver(before, after, time.monotonic())
        if not self._behind:
            self.level = level = min(counts)
            self._behind = counts.count(level)
        return level

    def drain(self, timeout: float) -> None:
        """Wait for everything that was published; then the totals have to agree exactly."""
        deadline = time.monotonic() + timeout
        while self.take(0.05) < len(self.ends):
            if time.monotonic() > deadline:
                raise LoadError(
                    f"{len(self.ends) * len(self.counts) - sum(self.counts)} deliveries "
                    f"are missing after {timeout} s"
                )
        time.sleep(0.05)
        self.take(0)
        if set(self._received) != {self.ends[-1]}:
            raise LoadError("subscribers got more bytes than were published")
        self._check_sample()

    def _take_sample(self, buffer: memoryview) -> int:
        size = self.sockets[0].recv_into(buffer)
        self._sample.append(bytes(buffer[:size]))
        return size

    def _learn_frame(self) -> None:
        """Publish one message and learn from it how long a frame is."""
        self.ends.append(1 << 62)
        self.publisher.setblocking(True)
        self.sent_at.append(time.monotonic())
        self.publisher.sendall(build_frame(TEXT, build_payload(0)))
        self.publisher.setblocking(False)
        deadline = time.monotonic() + 10
        while (frame := read_frame(b"".join(self._sample))) is None:
            if time.monotonic() > deadline:
                raise LoadError("nothing came of the first publication")
            self.take(0.1)
        _, text, self.frame_bytes = frame
        self._first_offset = _find_offset(json.loads(text))
        self.ends[0] = self.frame_bytes
        while min(self._received) < self.frame_bytes:
            if time.monotonic() > deadline:
                raise LoadError("some subscribers did not get the first publication")
            self.take(0.1)
        self.counts[:] = [1] * len(self.counts)
        self.level, self._behind = 1, len(self.counts)
        self.drain(10)

    def _find_size(self, number: int) -> int:
        if self._first_offset is None:
            return self.frame_bytes
        digits = len(str(self._first_offset + number)) - len(str(self._first_offset))
        return self.frame_bytes + digits

    def _check_sample(self) -> None:
        """Decode what the first subscriber got: each message once, in order, where expected."""
        data, position = b"".join(self._sample), 0
        self._sample.clear()
        start = self.ends[self._decoded - 1] if self._decoded else 0
        while frame := read_frame(data, position):
            _, text, position = frame
            message = json.loads(text)
            number, offset = int(_find_text(message)[:10]), _find_offset(message)
            expected = None if self._first_offset is None else self._first_offset + number
            if (
                number != self._decoded
                or offset != expected
                or start + position != self.ends[number]
            ):
                raise LoadError(f"message {self._decoded} was expected, not {text!r}")
            self._decoded += 1
        if position != len(data) or self._decoded != len(self.ends):
            raise LoadError("the last message of the decoded subscriber is not whole")


def _find_text(message: dict[str, Any]) -> str:
    text: str = (message.get("data") or message)["message"]
    return text


def _find_offset(message: dict[str, Any]) -> int | None:
    return message.get("offset")


def connect_pair(job: Job, name: str) -> tuple[socket.socket, socket.socket]:
    """One publisher and one subscriber of a topic, both non-blocking."""
    subscriber = open_connections(
        job.target,
        [job.paths.subscribe.format(name=name)],
        greetings=job.paths.subscriber_greetings,
    ).sockets[0]
    publisher = open_connections(
        job.target,
        [job.paths.publish.format(name=name)],
        greetings=job.paths.publisher_greetings,
    ).sockets[0]
    return publisher, subscriber
