"""WebSocket frames from a server, RFC 6455 section 5.2: unmasked, so the same for every client."""

import struct
from collections.abc import Iterator

TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

CONTINUATION = 0x0

_FIN = 0x80
# A longer message is sent in fragments, so that a ping can go between.
FRAGMENT = 1024 * 1024


def build_frame(opcode: int, payload: bytes) -> bytes:
    """One whole message in one frame."""
    return build_head(opcode, len(payload)) + payload


def build_head(opcode: int, size: int, *, fin: bool = True) -> bytes:
    """The head of a frame with `size` bytes of payload; `fin` is false before more fragments."""
    first = opcode | _FIN if fin else opcode
    if size < 126:
        return bytes((first, size))
    if size < 65_536:
        return struct.pack("!BBH", first, 126, size)
    return struct.pack("!BBQ", first, 127, size)


def cut_message(opcode: int, payload: bytes | memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The frames of a long message, as head and payload: fragments of at most 1 MiB each."""
    view = memoryview(payload)
    last = max(len(view) - 1, 0) // FRAGMENT * FRAGMENT
    for start in range(0, last + 1, FRAGMENT):
        part = view[start : start + FRAGMENT]
        yield build_head(opcode if not start else CONTINUATION, len(part), fin=start == last), part


def build_close(code: int, reason: str) -> bytes:
    """A close frame; the reason is cut to the 123 bytes that fit."""
    text = reason.encode()[:123].decode(errors="ignore").encode()
    return build_frame(CLOSE, struct.pack("!H", code) + text)
