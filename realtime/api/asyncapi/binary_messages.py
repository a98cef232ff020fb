"""Messages that are no JSON: arrays, blobs and their chunks, and what the echo endpoint takes."""

import base64
from typing import Any

import numpy as np

from realtime.conf import Kind
from realtime.core.npy import write_array

BYTES = "application/octet-stream"

# The whole of an array of three numbers, as it goes over the wire.
_ARRAY = base64.b64encode(write_array(np.array([1.0, 2.0, 3.0]))).decode()
_ARRAY_EXAMPLE = {
    "name": "The array [1.0, 2.0, 3.0]",
    "summary": "In base64 here; over the wire the bytes themselves go.",
    "payload": _ARRAY,
}


def _build_bytes(meaning: str) -> dict[str, Any]:
    return {"type": "string", "format": "binary", "description": meaning}


BINARY_MESSAGES: dict[str, Any] = {
    "Chunk": {
        "name": "chunk",
        "title": "Chunk",
        "summary": "A part of an array or blob: `chunks` of these follow a `binary` header.",
        "description": (
            "Joined in order, they are the whole. With the format `npy` that is one complete "
            "`.npy` file: version 1.0 or 2.0, C order (or Fortran order where that is the same), "
            "little-endian, up to 8 dimensions; "
            "`numpy.load(io.BytesIO(data), allow_pickle=False)` reads it. With a media type, it is "
            "whatever that type says. None is longer than `limits.max_frame_bytes`. Each chunk "
            "that you send has to come within 30 seconds of the one before."
        ),
        "tags": [{"name": str(Kind.BINARY)}, {"name": str(Kind.STATS)}],
        "contentType": BYTES,
        "payload": _build_bytes("A part of the bytes."),
        "examples": [_ARRAY_EXAMPLE],
    },
    "WholeArray": {
        "name": "array or blob",
        "title": "Array or blob in one piece",
        "summary": "A binary message without a header is a whole publication.",
        "description": (
            "On topics of format `npy` it is a `.npy` file, on stats topics one of one dimension, "
            "on topics of format `any` it has the type `application/octet-stream`. It gets no "
            "`ack`, and the `error` that may answer it has a null `ref`."
        ),
        "tags": [{"name": str(Kind.BINARY)}, {"name": str(Kind.STATS)}],
        "contentType": BYTES,
        "payload": _build_bytes("All of the bytes, at most `limits.max_frame_bytes`."),
        "examples": [_ARRAY_EXAMPLE],
    },
}
ECHO_MESSAGES: dict[str, Any] = {
    "EchoText": {
        "name": "text",
        "title": "Any text",
        "summary": "Any text message, empty ones too, comes back unchanged.",
        "contentType": "text/plain",
        "payload": {"type": "string"},
        "examples": [{"name": "A greeting", "payload": "hello"}],
    },
    "EchoBytes": {
        "name": "bytes",
        "title": "Any bytes",
        "summary": "Any binary message, empty ones too, comes back unchanged.",
        "contentType": BYTES,
        "payload": _build_bytes("Any bytes."),
        "examples": [
            {
                "name": "Four bytes",
                "summary": "In base64 here; over the wire the bytes themselves go.",
                "payload": "AAEC/w==",
            }
        ],
    },
}
