"""No server at all: sends ready bytes to sockets, and nothing else.

It shows what the load generator and the kernel would do with a server that costs nothing: what
arrived together goes to each subscriber by one `send`.
"""

import re
import selectors
import socket
import struct
import sys

from websockets.utils import accept_key

ANSWER = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: {}\r\n\r\n"
)
CLOSE = 8


class Connection:
    """A socket whose handshake was answered."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._waiting = b""
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            data = sock.recv(4096)
            if not data:
                raise ConnectionError("nobody asked for anything")
            request += data
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
        assert key is not None
        sock.sendall(ANSWER.format(accept_key(key[1].decode())).encode())
        self.is_subscriber = b"/broadcast/" in request

    def read_frames(self) -> bytes | None:
        """What came, as frames of a server; None at the end of the connection.

        The clients of this benchmark mask with zeros, so a payload stays as it is.
        """
        data = self.socket.recv(1 << 20)
        frames: list[bytes] = []
        data, position = self._waiting + data, 0
        while len(data) - position >= 8:
            if data[position] & 0x0F == CLOSE:
                return None
            size, mask = data[position + 1] & 0x7F, position + 2
            if size == 126:
                (size,) = struct.unpack_from("!H", data, mask)
                mask += 2
            end = mask + 4 + size
            if len(data) < end:
                break
            head = bytes((data[position], data[position + 1] & 0x7F)) + data[position + 2 : mask]
            frames += (head, data[mask + 4 : end])
            position = end
        self._waiting = data[position:]
        return b"".join(frames)


def serve(port: int) -> None:
    """Serve until the process is ended."""
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    selector = selectors.EpollSelector()
    selector.register(listener, selectors.EVENT_READ)
    subscribers: dict[int, socket.socket] = {}
    while True:
        for key, _ in selector.select():
            if key.data is None:
                try:
                    connection = Connection(listener.accept()[0])
                except ConnectionError:
                    continue  # somebody only looked whether the port is open
                selector.register(connection.socket, selectors.EVENT_READ, connection)
                if connection.is_subscriber:
                    subscribers[connection.socket.fileno()] = connection.socket
                continue
            connection = key.data
            frames = connection.read_frames()
            if frames is None:
                selector.unregister(key.fd)
                subscribers.pop(key.fd, None)
                connection.socket.close()
            elif frames:
                for sock in subscribers.values():
                    sock.send(frames)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
