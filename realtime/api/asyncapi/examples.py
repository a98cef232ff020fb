"""What the examples of several messages have in common."""

from typing import Any

TIME = "2026-01-01T09:45:27.643254Z"
SESSION = "b2c9f2a6-5a35-4e0c-8a2c-0b7a0b0f7f5e"
PUBLICATION: dict[str, Any] = {
    "type": "publication",
    "topic": "broadcast:lobby",
    "offset": 1,
    "data": {"text": "hello"},
    "user": "anna",
    "server_time": TIME,
}
BINARY: dict[str, Any] = {
    "type": "binary",
    "topic": "arrays:cam",
    "offset": 4,
    "format": "npy",
    "dtype": "float64",
    "shape": [3],
    "bytes": 152,
    "chunks": 1,
    "user": "anna",
    "server_time": TIME,
    "ref": None,
}
