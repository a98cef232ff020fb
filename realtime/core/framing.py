"""WebSocket frames from a server, RFC 6455 section 5.2: unmasked, so the same for every client."""

import struct

TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

_FIN = 0x80


def build_frame(opcode: int, payload: bytes) -> bytes:
    """One whole, unfragmented frame."""
    size = len(payload)
    if size < 126:
        return bytes((_FIN | opcode, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", _FIN | opcode, 126, size) + payload
    return struct.pack("!BBQ", _FIN | opcode, 127, size) + payload


def build_close(code: int, reason: str) -> bytes:
    """A close frame; the reason is cut to the 123 bytes that fit."""
    text = reason.encode()[:123].decode(errors="ignore").encode()
    return build_frame(CLOSE, struct.pack("!H", code) + text)
