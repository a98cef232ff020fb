"""Echo: every connection has one message under way."""

import select
import time
from typing import Any

from benchmarks.load.connect import open_connections
from benchmarks.load.crowd import build_payload
from benchmarks.load.job import Job
from benchmarks.load.wire import TEXT, LoadError, build_frame, close_all


def run(job: Job) -> list[dict[str, Any]]:
    """Messages a second and their cost; each answer is compared with what was sent."""
    sockets = open_connections(job.target, [job.paths.echo] * job.connections, greetings=0).sockets
    message = build_frame(TEXT, build_payload(0))
    answer = bytes((message[0], message[1] & 0x7F)) + build_payload(0)
    by_fd = {sock.fileno(): sock for sock in sockets}
    partial: dict[int, bytes] = {}
    poller = select.epoll()
    for sock in sockets:
        poller.register(sock, select.EPOLLIN)
        sock.send(message)

    def push(seconds: float) -> int:
        count, end = 0, time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            for fd, _ in poller.poll(end - now):
                sock = by_fd[fd]
                data = sock.recv(4096)
                if data != answer:
                    if not data:
                        raise LoadError("the server closed a connection")
                    data = partial.pop(fd, b"") + data
                    if data != answer:
                        if not answer.startswith(data):
                            raise LoadError(f"not what was sent: {data!r}")
                        partial[fd] = data
                        continue
                sock.send(message)
                count += 1
        return count

    try:
        push(job.warmup)
        watch = job.start_watch()
        messages = push(job.seconds)
        usage = watch.read()
    finally:
        close_all(sockets)
    return [
        {
            "connections": job.connections,
            "messages": messages,
            "messages_per_second": messages / usage.seconds,
            "server_cpu_us": usage.server / max(messages, 1) * 1e6,
            "frame_bytes": len(answer),
            "generator_share": usage.generator_share,
        }
    ]
