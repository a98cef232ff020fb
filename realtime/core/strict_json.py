"""JSON as the protocol allows it.

msgspec reads the text. It takes duplicate keys, any depth and integers of any size; these are
looked for in what it writes of the value, by passes over bytes that know nothing of structure.
Whatever is not certainly right is read once more by `json_faults`, which is slow and says what is
wrong. So whatever is accepted can be encoded again and means the same to every reader.
"""

import re
from typing import Any

import msgspec

from realtime.core.errors import InvalidJSON
from realtime.core.json_faults import INTEGER_LIMIT, MAX_DEPTH, decode_slowly

__all__ = ["MAX_DEPTH", "decode", "decode_object"]


def decode_object(text: str | bytes) -> dict[str, Any]:
    """Decode one JSON object; raises InvalidJSON with what is wrong and where."""
    value = decode(text)
    if not isinstance(value, dict):
        raise InvalidJSON("a message is one JSON object: {…}")
    return value


def decode(text: str | bytes) -> Any:
    """Decode one JSON value; raises InvalidJSON."""
    try:
        if isinstance(text, bytes):
            text = text.decode()
        value = _DECODER.decode(text)
        written = _ENCODER.encode(value)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return decode_slowly(text)
    if _is_certain(text, written):
        return value
    return decode_slowly(text)


def _is_certain(text: str, written: bytes) -> bool:
    """Whether a text has no key twice, no integer that is too large, and is not too deep.

    `written` is how msgspec writes the value of the text.
    """
    colons = text.count(":")
    if colons > 1 and written.count(b":") != colons + _count_escaped_colons(text):
        return False  # with a key that stands twice, its first colon is gone
    is_deep = text.count("{") + text.count("[") > MAX_DEPTH
    is_long = _LONG_RUN in written.translate(_DIGITS_AS_ZERO)
    if not (is_deep or is_long):
        return True
    bare = _drop_strings(written)
    return not (is_deep and _is_too_deep(bare)) and not (is_long and _has_large_integer(bare))


def _count_escaped_colons(text: str) -> int:
    """How many colons the strings of a text have as `\\u003a`."""
    if "\\u003" not in text:
        return 0
    text = text.replace("\\\\", "")  # in pairs from the left, as a reader takes them
    return text.count("\\u003a") + text.count("\\u003A")


def _drop_strings(written: bytes) -> bytes:
    """JSON without its strings, keys among them."""
    return b"".join(written.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])


def _is_too_deep(bare: bytes) -> bool:
    brackets = bare.translate(_BRACKETS_ALIKE, delete=_NO_BRACKETS)
    for _ in range(MAX_DEPTH):  # each time the innermost go
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _has_large_integer(bare: bytes) -> bool:
    return any(
        len(digits) > 20 or not -INTEGER_LIMIT <= int(digits) <= INTEGER_LIMIT
        for digits in _LONG_INTEGER.findall(bare)
    )


_DECODER = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()
# An integer of fewer digits is within the limit; 20 characters hold the largest with its sign.
_LONG_RUN = b"0" * 19
_LONG_INTEGER = re.compile(rb"(?<![0-9.])-?[0-9]{19,}(?![0-9.e])")
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_BRACKETS_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
