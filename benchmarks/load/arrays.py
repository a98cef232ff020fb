"""Arrays of 8 MB, each one binary message, from one publisher to one subscriber."""

import io
import select
import socket
import time
from collections import deque
from typing import Any

import numpy as np

from benchmarks.load.crowd import connect_pair, pick_name
from benchmarks.load.job import Job
from benchmarks.load.wire import BINARY, LoadError, build_frame, close_all
from benchmarks.measure import read_memory, read_peak, reset_peak, wait_until_quiet

SIDE = 1000
IN_FLIGHT = 2
READ_BYTES = 1 << 20


def run(job: Job) -> list[dict[str, Any]]:
    """MB/s with two arrays under way; and how much memory one array takes at most, in copies."""
    array = _save(np.random.default_rng(1).random((SIDE, SIDE)))
    pair = connect_pair(job, pick_name())
    try:
        stream = _Stream(*pair)
        stream.send(build_frame(BINARY, _save(np.zeros(10))))
        stream.receive(1, deadline=time.monotonic() + 10)
        wait_until_quiet(job.server)
        pid, message = job.server[0], build_frame(BINARY, array)
        before = read_memory([pid])
        reset_peak(pid)
        stream.send(message)
        stream.receive(1, deadline=time.monotonic() + 20)
        if stream.read_last() != array:
            raise LoadError("the array that came is not the one that was sent")
        copies = (read_peak(pid) - before) / len(array)

        stream.keeps = False
        for _ in range(IN_FLIGHT):
            stream.send(message)
        watch, count = job.start_watch(), 0
        end = time.monotonic() + job.seconds
        while time.monotonic() < end:
            count += stream.receive(1, deadline=end + 20)
            stream.send(message)
        usage = watch.read()
        stream.receive(IN_FLIGHT, deadline=time.monotonic() + 20)
        stream.check_total(len(array))
    finally:
        close_all(list(pair))
    return [
        {
            "array_bytes": len(array),
            "arrays": count,
            "mb_per_second": count * len(array) / usage.seconds / 1e6,
            "server_cpu_ms": usage.server / max(count, 1) * 1e3,
            "redis_cpu_ms": usage.redis / max(count, 1) * 1e3,
            "peak_copies": copies,
            "generator_share": usage.generator_share,
        }
    ]


class _Stream:
    """Sends and receives at the same time; what is received is binary frames, counted."""

    def __init__(self, publisher: socket.socket, subscriber: socket.socket) -> None:
        self.keeps = True
        self._publisher, self._subscriber = publisher, subscriber
        self._queue: deque[memoryview] = deque()
        self._poller = select.epoll()
        self._poller.register(subscriber, select.EPOLLIN)
        self._poller.register(publisher, select.EPOLLIN)
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._head = b""  # the beginning of a frame's header
        self._left = 0  # of the payload of the frame begun
        self._is_binary = False
        self._got = 0
        self._kept: list[bytes] = []
        self._last = b""
        self._arrays: list[int] = []

    def send(self, frame: bytes) -> None:
        """Queue a frame; `receive` writes it."""
        self._queue.append(memoryview(frame))
        self._write()

    def receive(self, count: int, *, deadline: float) -> int:
        """Wait for `count` more arrays; returns that count."""
        goal = len(self._arrays) + count
        while len(self._arrays) < goal:
            if time.monotonic() > deadline:
                raise LoadError(f"an array is late: {self._got} bytes of it came")
            for fd, events in self._poller.poll(0.1):
                if fd == self._publisher.fileno():
                    if events & select.EPOLLOUT:
                        self._write()
                    if events & select.EPOLLIN:
                        raise LoadError(f"the publisher was told: {self._publisher.recv(4096)!r}")
                else:
                    self._read()
        return count

    def read_last(self) -> bytes:
        """The last array that came, where it was kept."""
        return self._last

    def check_total(self, size: int) -> None:
        """All arrays but the first, a small one, have that size, and nothing is left over."""
        if set(self._arrays[1:]) != {size} or self._got or self._left or self._head:
            raise LoadError("arrays came incomplete")

    def _write(self) -> None:
        try:
            while self._queue:
                sent = self._publisher.send(self._queue[0])
                if sent < len(self._queue[0]):
                    self._queue[0] = self._queue[0][sent:]
                else:
                    self._queue.popleft()
        except BlockingIOError:
            pass
        wanted = select.EPOLLIN | (select.EPOLLOUT if self._queue else 0)
        self._poller.modify(self._publisher, wanted)

    def _read(self) -> None:
        size = self._subscriber.recv_into(self._buffer)
        if not size:
            raise LoadError("the server closed the subscriber")
        data = self._buffer[:size]
        while data:
            data = self._take_payload(data) if self._left else self._take_head(data)

    def _take_head(self, data: memoryview) -> memoryview:
        old, self._head = len(self._head), self._head + bytes(data[:10])
        need = {126: 4, 127: 10}.get(self._head[1], 2) if len(self._head) > 1 else 2
        if len(self._head) < need:
            return data[10:]
        head = self._head[:need]
        self._left = head[1] if need == 2 else int.from_bytes(head[2:], "big")
        # A continuation frame goes on with what began.
        if opcode := head[0] & 0x0F:
            self._is_binary = opcode == BINARY
        self._head = b""
        return data[need - old :]

    def _take_payload(self, data: memoryview) -> memoryview:
        part = data[: self._left]
        self._left -= len(part)
        if self._is_binary:
            self._got += len(part)
            if self.keeps:
                self._kept.append(bytes(part))
            self._note_progress()
        return data[len(part) :]

    def _note_progress(self) -> None:
        """An array has come when its `.npy` header's size has."""
        if self._left == 0 and self._got >= self._find_size():
            self._arrays.append(self._got)
            self._got = 0
            self._last = b"".join(self._kept)
            self._kept.clear()

    def _find_size(self) -> int:
        return self.sizes[min(len(self._arrays), 1)]

    # The small array comes first, then ones of the full size.
    sizes = (128 + 80, 128 + SIDE * SIDE * 8)


def _save(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
