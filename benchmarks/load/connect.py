"""Open many connections, so many at a time."""

import resource
import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.load.wire import CLOSE, LoadError, Target, read_frame

# Clients come from several loopback addresses, so that ports do not get scarce.
ADDRESSES = 8


@dataclass
class Opened:
    """Connections whose handshake is done and whose greetings have come."""

    sockets: list[socket.socket] = field(default_factory=list)
    greetings: list[list[bytes]] = field(default_factory=list)
    seconds: float = 0.0


class _Opening:
    """One connection on its way: the answer to the handshake, then `greetings` messages."""

    def __init__(self, sock: socket.socket, request: bytes) -> None:
        self.socket = sock
        self.request = request
        self.data = b""
        self.is_upgraded = False
        self.messages: list[bytes] = []

    def take(self, data: bytes, greetings: int) -> bool:
        """Take what came; whether the connection is ready."""
        if not data:
            raise LoadError(f"the server closed a connection early, after {self.data[:200]!r}")
        self.data += data
        if not self.is_upgraded:
            head, end, rest = self.data.partition(b"\r\n\r\n")
            if not end:
                return False
            if not head.startswith(b"HTTP/1.1 101 "):
                raise LoadError(f"the server refused a connection: {self.data[:200]!r}")
            self.is_upgraded, self.data = True, rest
        position = 0
        while frame := read_frame(self.data, position):
            opcode, payload, position = frame
            if opcode == CLOSE:
                raise LoadError(f"the server closed a new session: {payload!r}")
            self.messages.append(payload)
        self.data = self.data[position:]
        if len(self.messages) > greetings or (len(self.messages) == greetings and self.data):
            raise LoadError(f"a message came before its time: {self.messages!r}, {self.data!r}")
        return len(self.messages) == greetings


def open_connections(
    target: Target,
    paths: Sequence[str],
    *,
    greetings: int,
    concurrency: int = 50,
    timeout: float = 90.0,
) -> Opened:
    """A connection for each path, in their order; raises LoadError."""
    raise_file_limit()
    opened = Opened([None] * len(paths), [[] for _ in paths])  # type: ignore[list-item]
    poller = select.epoll()
    waiting = iter(enumerate(paths))
    opening: dict[int, tuple[int, _Opening]] = {}
    began = time.monotonic()
    for _ in range(concurrency):
        _start_next(target, waiting, opening, poller)
    while opening:
        if time.monotonic() - began > timeout:
            raise LoadError(f"{len(opening)} connections are still not open after {timeout} s")
        for fd, events in poller.poll(1):
            index, connection = opening[fd]
            if events & select.EPOLLOUT:
                if error := connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise LoadError(f"a connection failed with error {error}")
                connection.socket.send(connection.request)
                poller.modify(fd, select.EPOLLIN)
            elif connection.take(connection.socket.recv(65_536), greetings):
                del opening[fd]
                poller.unregister(fd)
                opened.sockets[index] = connection.socket
                opened.greetings[index] = connection.messages
                _start_next(target, waiting, opening, poller)
    opened.seconds = time.monotonic() - began
    poller.close()
    return opened


def raise_file_limit() -> None:
    """Let this process have as many sockets as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _start_next(
    target: Target,
    waiting: Iterator[tuple[int, str]],
    opening: dict[int, tuple[int, _Opening]],
    poller: select.epoll,
) -> None:
    step = next(waiting, None)
    if step is None:
        return
    index, path = step
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Choose the port when the other end is known: then one port serves several servers.
    sock.setsockopt(socket.SOL_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
    sock.bind((f"127.0.0.{1 + index % ADDRESSES}", 0))
    sock.connect_ex(("127.0.0.1", target.port))
    opening[sock.fileno()] = index, _Opening(sock, target.build_request(path))
    poller.register(sock, select.EPOLLOUT)
