"""A TCP proxy on loopback that loses what it carries, or cuts its connections, when told to."""

import contextlib
import socket
import threading
from types import TracebackType

from tests.servers import find_free_port


class Proxy:
    """Carries connections from `port` to another port, each way in a thread of its own."""

    def __init__(self, target: int) -> None:
        self.port = find_free_port()
        self._target = target
        self._swallows = threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", self.port))

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
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
            for end in pair:
                _break(end)
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
            self._pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        # The other direction, or `cut`, may end it.
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._swallows.is_set():
                    sink.sendall(data)
        _break(source)
        _break(sink)


def _break(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be broken already
        end.shutdown(socket.SHUT_RDWR)
    end.close()
