"""A publication as it is stored and carried between processes: one msgpack array of bytes.

The data comes last in it, so that all the rest can be written right before long data.
"""

import struct
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

JSON = "json"
SAMPLES = "samples"
NPY = "npy"
OCTET_STREAM = "application/octet-stream"

# What stands before the data, unless the user's name is very long; in bytes.
HEAD_ROOM = 256

# An entry in its stored form. A view is read-only, and of single bytes: its length is its size.
Body: TypeAlias = bytes | memoryview


class LongMessage:
    """Data that was received into a buffer with `HEAD_ROOM` bytes before it, and none behind.

    `view` is the data, read-only: nobody but `prepend` writes into the buffer, and only once.
    """

    __slots__ = ("_buffer", "view")

    def __init__(self, buffer: memoryview) -> None:
        self.view = buffer[HEAD_ROOM:].toreadonly()
        self._buffer: memoryview | None = buffer

    def __len__(self) -> int:
        return len(self.view)

    def __bytes__(self) -> bytes:
        return bytes(self.view)

    def __getitem__(self, part: slice) -> bytes:
        return bytes(self.view[part])

    def prepend(self, head: bytes) -> Body:
        """`head` and the data in one piece; a copy only where the room is too short, or taken."""
        buffer, start = self._buffer, HEAD_ROOM - len(head)
        if buffer is None or start < 0:
            return b"".join((head, self.view))
        self._buffer = None
        buffer[start:HEAD_ROOM] = head
        return buffer[start:].toreadonly()


class Chunks:
    """Data that came in pieces, which stay apart until they are encoded; `bytes()` joins them."""

    __slots__ = ("_size", "parts")

    def __init__(self, parts: Sequence[bytes | memoryview | LongMessage]) -> None:
        self.parts = [part.view if isinstance(part, LongMessage) else part for part in parts]
        self._size = sum(map(len, parts))

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self.parts)

    def __getitem__(self, part: slice) -> bytes:
        """A part of the data; from the beginning of a long first piece it costs no join."""
        first = self.parts[0]
        is_within = part.stop is not None and 0 <= part.stop <= len(first)
        return bytes(first[part]) if is_within and not part.start else bytes(self)[part]


Data: TypeAlias = bytes | memoryview | LongMessage | Chunks


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """What was published, by whom, and when it was accepted.

    `format` says how to read `data`: `json` (UTF-8 text), `samples` (n values, then n
    timestamps, little-endian float64), `npy`, or a media type. `time` is in microseconds
    since the epoch.
    """

    format: str
    user: str | None
    time: int
    data: Data


_ENCODER = msgspec.msgpack.Encoder()
# https://github.com/msgpack/msgpack/blob/master/spec.md
_ARRAY_OF_4 = b"\x94"
_BIN_32 = 0xC6


class StoredEntry(Entry, frozen=True):
    """An entry that was read from its stored form: its data is in one piece."""

    data: bytes | memoryview


class _View(StoredEntry, frozen=True):
    """The same, read without a copy of the data."""

    data: memoryview


class Head(msgspec.Struct, frozen=True):
    """What an entry says about its data, and how the data begins; `size` is that of all of it."""

    format: str
    user: str | None
    time: int
    beginning: bytes
    size: int


_DECODER = msgspec.msgpack.Decoder(_View)
# Data from this size on is left where it is: a copy would cost more than a view.
_VIEW_SIZE = 64 * 1024


def encode_entry(entry: Entry) -> Body:
    """The bytes that the history keeps; those of a long message stay in its buffer."""
    data = entry.data
    if isinstance(data, bytes) and len(data) < _VIEW_SIZE:
        return _ENCODER.encode(entry)
    # Put together here, so that long data is copied once; msgspec does it more than once.
    fields = map(_ENCODER.encode, (entry.format, entry.user, entry.time))
    head = b"".join((_ARRAY_OF_4, *fields, struct.pack("!BI", _BIN_32, len(data))))
    if isinstance(data, LongMessage):
        return data.prepend(head)
    parts = data.parts if isinstance(data, Chunks) else (data,)
    return b"".join((head, *parts))


def decode_entry(body: Body) -> StoredEntry:
    """The entry in bytes that `encode_entry` made; long data is a view of them."""
    entry = _DECODER.decode(body)
    data = entry.data if len(entry.data) >= _VIEW_SIZE else bytes(entry.data)
    return StoredEntry(entry.format, entry.user, entry.time, data)


def decode_head(head: Body) -> Head:
    """What the beginning of a stored entry says; IndexError where it ends before the data."""
    end = 1
    for _ in range(3):
        end = _find_end(head, end)
    format, user, time = _FIELDS_DECODER.decode(b"\x93" + head[1:end])
    start = end + 1 + _LENGTH_BYTES[head[end]]
    size = int.from_bytes(head[end + 1 : start], "big")
    return Head(format, user, time, bytes(head[start:]), size)


_FIELDS_DECODER = msgspec.msgpack.Decoder(tuple[str, str | None, int])
# By its first byte, how many more say how long a string or bytes are, or are the number itself.
_LENGTH_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_NUMBER_BYTES = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}


def _find_end(body: Body, start: int) -> int:
    """Where a string, a number or nil ends that begins at `start`."""
    kind, after = body[start], start + 1
    if 0xA0 <= kind <= 0xBF:
        return after + kind - 0xA0
    width = _LENGTH_BYTES.get(kind, 0)
    if width:
        return after + width + int.from_bytes(body[after : after + width], "big")
    return after + _NUMBER_BYTES.get(kind, 0)
