"""What is wrong with a JSON text: the rules of the protocol one by one, in plain Python.

Python's `json` alone takes NaN, numbers that overflow to infinity, duplicate keys, lone
surrogates and any depth; each of these is refused here, by name and place.
"""

import json
import math
from typing import Any

from realtime.core.errors import InvalidJSON

MAX_DEPTH = 32
INTEGER_LIMIT = 2**63


def decode_slowly(text: str | bytes) -> Any:
    """Decode one JSON value; raises InvalidJSON that says what is wrong and where."""
    try:
        if isinstance(text, bytes):
            text = text.decode()
        elif not text.isascii():
            text.encode()
        value = _DECODER.decode(text)
        if "\\u" in text:
            _refuse_lone_surrogates(value)
    except InvalidJSON:
        raise
    except UnicodeError as error:
        raise InvalidJSON("the text has to be valid UTF-8 without lone surrogates") from error
    except RecursionError as error:
        raise InvalidJSON(f"nesting goes deeper than {MAX_DEPTH}") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidJSON(f"not JSON: {error.msg} ({where})") from error
    # Brackets inside strings count here too, which only makes us look at the value.
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_too_deep(value):
        raise InvalidJSON(f"nesting goes deeper than {MAX_DEPTH}")
    return value


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()  # one pass: a stranger's object may have a hundred thousand keys
        for name, _ in pairs:
            if name in seen:
                raise InvalidJSON(f"the key {name[:64]!r} stands twice in one object")
            seen.add(name)
    return result


def _refuse_constant(name: str) -> Any:
    raise InvalidJSON(f"{name} is not JSON; send null for a value that is missing")


def _parse_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InvalidJSON("a number overflows a double")
    return value


def _parse_integer(digits: str) -> int:
    # Twenty characters hold every integer within the limit and keep int() cheap.
    if len(digits) <= 20 and -INTEGER_LIMIT <= (value := int(digits)) <= INTEGER_LIMIT:
        return value
    raise InvalidJSON("an integer is outside ±2^63; send it as a string")


def _refuse_lone_surrogates(value: Any) -> None:
    json.dumps(value, ensure_ascii=False).encode()


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
    return bool(level)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_build_object,
    parse_constant=_refuse_constant,
    parse_float=_parse_float,
    parse_int=_parse_integer,
)
