"""The query parameters of an endpoint: section 1 of the protocol."""

import math
import re
from dataclasses import dataclass

from realtime.conf import Kind, Namespace
from realtime.core.errors import InvalidParameter
from realtime.core.positions import Position
from realtime.core.queries import parse_epoch, parse_integer, refuse_unknown
from realtime.core.windows import Window, parse_fields, parse_window

MAX_INTERVAL = 3600.0

_ALLOWED = {
    Kind.BROADCAST: {"epoch", "offset", "subscribe", "history"},
    Kind.STATS: {"epoch", "offset", "subscribe", "window", "fields", "interval"},
    Kind.BINARY: {"epoch", "offset", "subscribe", "history", "interval"},
}
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
        history=parse_integer("history", query.get("history", "0")),
        fields=parse_fields(query.get("fields", "")),
        interval=_parse_interval(query.get("interval", "0")),
    )


def _parse_position(query: dict[str, str]) -> Position | None:
    epoch, offset = query.get("epoch"), query.get("offset")
    if epoch is None and offset is None:
        return None
    if epoch is None or offset is None:
        missing = "epoch" if epoch is None else "offset"
        raise InvalidParameter(f"{missing}: epoch and offset go together")
    return Position(parse_epoch(epoch), parse_integer("offset", offset))


def _parse_interval(text: str) -> float:
    if _DECIMAL.fullmatch(text) is None or not math.isfinite(seconds := float(text)):
        raise InvalidParameter("interval: seconds, such as 0.5")
    if seconds > MAX_INTERVAL:
        raise InvalidParameter(f"interval: at most {MAX_INTERVAL:.0f} seconds")
    return seconds
