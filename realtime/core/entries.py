"""A publication as it is stored and carried between processes: one msgpack array of bytes."""

import msgspec

JSON = "json"
SAMPLES = "samples"
NPY = "npy"
OCTET_STREAM = "application/octet-stream"


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """What was published, by whom, and when it was accepted.

    `format` says how to read `data`: `json` (UTF-8 text), `samples` (n values, then n
    timestamps, little-endian float64), `npy`, or a media type. `time` is in microseconds
    since the epoch.
    """

    format: str
    data: bytes | memoryview
    user: str | None
    time: int


_ENCODER = msgspec.msgpack.Encoder()


class _StoredEntry(msgspec.Struct, array_like=True, frozen=True):
    """The same, read without a copy of the data."""

    format: str
    data: memoryview
    user: str | None
    time: int


_DECODER = msgspec.msgpack.Decoder(_StoredEntry)
# Data from this size on is left where it is: a copy would cost more than a view.
_VIEW_SIZE = 64 * 1024


def encode_entry(entry: Entry) -> bytes:
    """The bytes that the history keeps."""
    return _ENCODER.encode(entry)


def decode_entry(body: bytes) -> Entry:
    """The entry in bytes that `encode_entry` made; long data is a view of them."""
    stored = _DECODER.decode(body)
    data = stored.data if len(stored.data) >= _VIEW_SIZE else bytes(stored.data)
    return Entry(stored.format, data, stored.user, stored.time)
