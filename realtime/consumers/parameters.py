"""The query parameters of an endpoint: section 1 of the protocol."""

import math
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from realtime.conf import Kind, Namespace
from realtime.core.errors import InvalidParameter, TokenInQuery
from realtime.core.positions import Position
from realtime.core.windows import Window, parse_fields, parse_window

CREDENTIALS = ("token", "access_token", "jwt")
MAX_INTERVAL = 3600.0

_ALLOWED = {
    Kind.BROADCAST: {"epoch", "offset", "subscribe", "history"},
    Kind.STATS: {"epoch", "offset", "subscribe", "window", "fields", "interval"},
    Kind.BINARY: {"epoch", "offset", "subscribe", "history", "interval"},
}
_INTEGER = re.compile(r"[0-9]{1,15}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a client asks of a topic. `interval` is in seconds."""

    window: Window
    subscribes: bool = True
    recover: Position | None = None
    history: int = 0
    fields: tuple[str, ...] = ()
    interval: float = 0.0


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
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidParameter(f"{twice[:64]}: a parameter stands once")
    return result


def parse_parameters(query: dict[str, str], namespace: Namespace) -> Parameters:
    """Check the parameters of a topic; raises InvalidParameter that names the one."""
    refuse_unknown(query, _ALLOWED[namespace.kind])
    recover = _parse_position(query)
    subscribes = query.get("subscribe", "1")
    if subscribes not in ("0", "1"):
        raise InvalidParameter("subscribe: 0 to publish only, or 1")
    if subscribes == "0" and (recover is not None or "history" in query):
        raise InvalidParameter("subscribe=0 leaves nothing to recover: drop epoch, offset, history")
    return Parameters(
        window=parse_window(query.get("window", namespace.window)),
        subscribes=subscribes == "1",
        recover=recover,
        history=_parse_integer("history", query.get("history", "0")),
        fields=parse_fields(query.get("fields", "")),
        interval=_parse_interval(query.get("interval", "0")),
    )


def refuse_unknown(query: dict[str, str], allowed: set[str]) -> None:
    """Raise InvalidParameter where a name is not allowed here."""
    for name in query:
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise InvalidParameter(f"{name[:64]}: no such parameter here; there are: {known}")


def _parse_position(query: dict[str, str]) -> Position | None:
    epoch, offset = query.get("epoch"), query.get("offset")
    if epoch is None and offset is None:
        return None
    if epoch is None or offset is None:
        missing = "epoch" if epoch is None else "offset"
        raise InvalidParameter(f"{missing}: epoch and offset go together")
    if not 1 <= len(epoch) <= 64:
        raise InvalidParameter("epoch: the string that the server sent, 1 to 64 characters")
    return Position(epoch, _parse_integer("offset", offset))


def _parse_integer(name: str, text: str) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise InvalidParameter(f"{name}: a whole number, 0 or more")
    return int(text)


def _parse_interval(text: str) -> float:
    if _DECIMAL.fullmatch(text) is None or not math.isfinite(seconds := float(text)):
        raise InvalidParameter("interval: seconds, such as 0.5")
    if seconds > MAX_INTERVAL:
        raise InvalidParameter(f"interval: at most {MAX_INTERVAL:.0f} seconds")
    return seconds
