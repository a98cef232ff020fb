"""The query of a URL: strictly read, and never with a credential in it."""

import re
from collections.abc import Collection
from urllib.parse import parse_qsl

from realtime.core.errors import InvalidParameter, TokenInQuery

CREDENTIALS = ("token", "access_token", "jwt")

_INTEGER = re.compile(r"[0-9]{1,15}", re.ASCII)


def read_query(query: bytes) -> dict[str, str]:
    """The parameters by name; raises TokenInQuery, and InvalidParameter for one that repeats."""
    try:
        pairs = parse_qsl(
            query.decode(), keep_blank_values=True, max_num_fields=32, errors="strict"
        )
    except ValueError as error:
        raise InvalidParameter("the query is malformed") from error
    result = dict(pairs)
    for name in CREDENTIALS:
        if name in result:
            raise TokenInQuery(
                f"{name}: URLs are logged, so never put a token there; send it as the header "
                "Authorization: Bearer …, a subprotocol, or the first message"
            )
    if any("\0" in text for pair in pairs for text in pair):  # PostgreSQL has no such texts
        raise InvalidParameter("the query is malformed")
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidParameter(f"{twice[:64]}: a parameter stands once")
    return result


def refuse_unknown(query: dict[str, str], allowed: Collection[str]) -> None:
    """Raise InvalidParameter where a name is not allowed here."""
    for name in query:
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise InvalidParameter(f"{name[:64]}: no such parameter here; there are: {known}")


def parse_integer(name: str, text: str, *, least: int = 0, most: int | None = None) -> int:
    """A whole number of decimal digits within bounds; else InvalidParameter."""
    if _INTEGER.fullmatch(text) is not None:
        number = int(text)
        if least <= number and (most is None or number <= most):
            return number
    bounds = f"{least} or more, of at most 15 digits" if most is None else f"{least} to {most}"
    raise InvalidParameter(f"{name}: a whole number, {bounds}")


def parse_epoch(text: str) -> str:
    """An epoch as the server gave it; else InvalidParameter."""
    if not 1 <= len(text) <= 64:
        raise InvalidParameter("epoch: the string that the server sent, 1 to 64 characters")
    return text
