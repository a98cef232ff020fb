"""A WebSocket client down to its frames, for what no library lets a client do."""

import base64
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

from websockets.frames import Close
from websockets.utils import apply_mask

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x01\x02\x03\x04"
TIMEOUT = 30.0  # in seconds; it only keeps a test from hanging


def build(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    is_masked: bool = True,
    form: int = 0,
) -> bytes:
    """A client's frame; `form` 126 or 127 asks for a longer form of the length than need be."""
    size = len(payload)
    if size > 65_535 or form == 127:
        length, tail = 127, struct.pack("!Q", size)
    elif size > 125 or form == 126:
        length, tail = 126, struct.pack("!H", size)
    else:
        length, tail = size, b""
    head = bytes((fin << 7 | reserved << 4 | opcode, is_masked << 7 | length))
    return head + tail + (MASK + apply_mask(payload, MASK) if is_masked else payload)


def build_request(
    path: str, *headers: str, method: str = "GET", without: Sequence[str] = ()
) -> bytes:
    """A request to upgrade; headers are added, or left out by name."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]
    kept = [line for line in lines if not line.startswith(tuple(without))]
    head = "\r\n".join((f"{method} {path} HTTP/1.1", *kept, *headers))
    return head.encode("latin-1") + b"\r\n\r\n"


class RawSocket:
    """A blocking socket; every wait has a limit."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:  # before connecting, so that the window is small
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(("127.0.0.1", port))
        self._buffer = bytearray()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, size: int) -> bytes:
        """Exactly so many bytes; raises EOFError."""
        while len(self._buffer) < size:
            data = self.socket.recv(min(1 << 20, max(4096, size - len(self._buffer))))
            if not data:
                raise EOFError(bytes(self._buffer))
            self._buffer += data
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def read_head(self) -> tuple[int, dict[str, str]]:
        """The status and headers of a response; names in lower case."""
        head = bytearray()
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(1)
        first, *lines = head.decode().strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return int(first.split()[1]), headers

    def read_end(self, timeout: float = TIMEOUT) -> None:
        """Wait for the server to close the connection in order; fails where more data comes."""
        self.socket.settimeout(timeout)
        assert bytes(self._buffer) + self.socket.recv(1) == b""

    def abort(self) -> None:
        """Reset the connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class RawClient(RawSocket):
    """A WebSocket, opened. `early` goes along with the handshake in the same segment."""

    def __init__(
        self, port: int, path: str = "/ws/echo/", *headers: str, early: bytes = b"", **options: Any
    ) -> None:
        super().__init__(port, **options)
        self._opcode = CONT
        self._parts: list[bytes] = []
        self.send(build_request(path, *headers) + early)
        status, self.headers = self.read_head()
        assert status == 101, status

    def read_frame(self) -> tuple[int, bytes]:
        """The opcode and payload of the next message, put together, or control frame."""
        while True:
            opcode, is_final, payload = self.read_part()
            if opcode >= CLOSE:
                assert is_final
                return opcode, payload
            assert (opcode == CONT) == bool(self._parts)
            self._opcode = opcode or self._opcode
            self._parts.append(payload)
            if is_final:
                payload = b"".join(self._parts)
                self._parts.clear()
                return self._opcode, payload

    def read_part(self) -> tuple[int, bool, bytes]:
        """The opcode of the next frame, whether it is final, and its payload."""
        head, size = self.read(2)
        assert head & 0x70 == 0, hex(head)
        if size == 126:
            (size,) = struct.unpack("!H", self.read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.read(8))
        return head & 0x0F, head > 0x7F, self.read(size)

    def read_until(self, opcode: int) -> bytes:
        """The payload of the next frame with this opcode; others are passed over."""
        while True:
            found, payload = self.read_frame()
            if found == opcode:
                return payload

    def read_close(self) -> tuple[int, str]:
        """The code and reason of the server's close frame; what is before it is passed over."""
        close = Close.parse(self.read_until(CLOSE))
        return int(close.code), close.reason
