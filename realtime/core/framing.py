"""WebSocket frames from a server, RFC 6455 section 5.2: unmasked, so the same for every client."""

import struct

TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

CONTINUATION = 0x0

_FIN = 0x80
# A longer message is sent in fragments, so that a ping can go between.
FRAGMENT = 1024 * 1024


def build_message(opcode: int, payload: bytes) -> list[bytes]:
    """The frames of one text or binary message: one, or fragments of 1 MiB."""
    if len(payload) <= FRAGMENT:
        return [build_frame(opcode, payload)]
    last = (len(payload) - 1) // FRAGMENT * FRAGMENT
    return [
        build_frame(
            CONTINUATION if start else opcode, payload[start : start + FRAGMENT], fin=start == last
        )
        for start in range(0, len(payload), FRAGMENT)
    ]


def build_frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """One frame: a whole message, unless `fin` is false."""
    head = opcode | _FIN if fin else opcode
    size = len(payload)
    if size < 126:
        return bytes((head, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", head, 126, size) + payload
    return struct.pack("!BBQ", head, 127, size) + payload


def build_close(code: int, reason: str) -> bytes:
    """A close frame; the reason is cut to the 123 bytes that fit."""
    text = reason.encode()[:123].decode(errors="ignore").encode()
    return build_frame(CLOSE, struct.pack("!H", code) + text)
