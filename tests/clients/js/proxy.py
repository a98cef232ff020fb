"""A TCP proxy on loopback that loses what it carries, or cuts its connections, when told to."""

import contextlib
import socket
import threading
from base64 import b64encode
from http.client import parse_headers
from io import BytesIO
from types import TracebackType

REFUSAL = (
    b"HTTP/1.1 401 Unauthorized\r\n"
    b'WWW-Authenticate: Basic realm="staging"\r\n'
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class Proxy:
    """Carries connections from `port` to another port, each way in a thread of its own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._swallows = threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> "Proxy":
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        self.cut(len(self._pairs))

    def swallow(self, on: bool) -> None:
        """From now on lose whatever arrives, and leave the connections open; or no longer."""
        if on:
            self._swallows.set()
        else:
            self._swallows.clear()

    def cut(self, count: int) -> None:
        """Break the oldest connections, that many."""
        for pair in self._pairs[:count]:
            _break(pair)
        del self._pairs[:count]

    @property
    def count(self) -> int:
        """Connections that were opened and not cut."""
        return len(self._pairs)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # closed
            far = socket.create_connection(("127.0.0.1", self._target))
            pair = near, far
            self._pairs.append(pair)
            threading.Thread(target=self._carry, args=(pair,), daemon=True).start()

    def _carry(self, pair: tuple[socket.socket, socket.socket]) -> None:
        near, far = pair
        back = threading.Thread(target=self._pass_on, args=(far, near, pair), daemon=True)
        back.start()
        self._pass_on(near, far, pair)
        back.join()
        # Not sooner: another connection could get the number of a file that is still read from.
        near.close()
        far.close()

    def _pass_on(
        self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        # The other direction, or `cut`, may end it.
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._swallows.is_set():
                    sink.sendall(data)
        _break(pair)


class AskingProxy(Proxy):
    """One that asks for HTTP Basic, as a web server in front of a staging site does.

    Looks at the first request of each connection. `handshakes` are the values of Authorization
    that came with WebSockets.
    """

    def __init__(self, target: int, *, username: str, password: str) -> None:
        super().__init__(target)
        self._expected = "Basic " + b64encode(f"{username}:{password}".encode()).decode()
        self.handshakes: list[str | None] = []

    def _carry(self, pair: tuple[socket.socket, socket.socket]) -> None:
        near, far = pair
        head = b""
        while b"\r\n\r\n" not in head and (data := near.recv(65536)):
            head += data
        _, _, lines = head.partition(b"\r\n")
        headers = parse_headers(BytesIO(lines))
        if headers.get("Upgrade") == "websocket":
            self.handshakes.append(headers.get("Authorization"))
        if self._expected in headers.get_all("Authorization", []):
            far.sendall(head)
        else:
            near.sendall(REFUSAL)
            _break(pair)
        super()._carry(pair)


def _break(pair: tuple[socket.socket, socket.socket]) -> None:
    for end in pair:
        with contextlib.suppress(OSError):  # it may be broken already
            end.shutdown(socket.SHUT_RDWR)
