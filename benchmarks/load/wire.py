"""WebSocket as this generator speaks it: a handshake, frames out, frames in."""

import base64
import os
import socket
import struct
from dataclasses import dataclass

TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8

_FIN = 0x80
_MASKED = 0x80
# A mask of zeros leaves the payload as it is; to unmask costs a server the same.
_MASK = bytes(4)


class LoadError(RuntimeError):
    """The server did something else than it should; a measurement of that is worth nothing."""


@dataclass(frozen=True)
class Target:
    """Where to connect, and as whom."""

    port: int
    token: str | None = None

    def build_request(self, path: str) -> bytes:
        """The opening handshake."""
        key = base64.b64encode(os.urandom(16)).decode()
        credential = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        return (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"{credential}\r\n"
        ).encode()


def build_frame(opcode: int, payload: bytes) -> bytes:
    """One whole frame of a client."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", _FIN | opcode, _MASKED | size)
    elif size < 65_536:
        head = struct.pack("!BBH", _FIN | opcode, _MASKED | 126, size)
    else:
        head = struct.pack("!BBQ", _FIN | opcode, _MASKED | 127, size)
    return head + _MASK + payload


def read_frame(data: bytes, position: int = 0) -> tuple[int, bytes, int] | None:
    """(opcode, payload, end) of the server's frame there, or None where it is not whole yet."""
    if len(data) < position + 2:
        return None
    opcode, size = data[position] & 0x0F, data[position + 1]
    start = position + 2
    if size >= 126:
        width = 2 if size == 126 else 8
        if len(data) < start + width:
            return None
        size = int.from_bytes(data[start : start + width], "big")
        start += width
    end = start + size
    return (opcode, data[start:end], end) if len(data) >= end else None


def close_all(sockets: list[socket.socket]) -> None:
    """Say good-bye as a client should, and close."""
    farewell = build_frame(CLOSE, struct.pack("!H", 1000))
    for sock in sockets:
        try:
            sock.send(farewell)
        except OSError:
            continue  # the server was faster
        finally:
            sock.close()
