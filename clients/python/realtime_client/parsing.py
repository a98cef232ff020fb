"""From the text of a message to its structure.

Fields and types that are not known are ignored, since later servers may add some. What a message
has to have and lacks raises ProtocolFault.
"""

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from realtime_client.errors import ProtocolFault
from realtime_client.messages import (
    Ack,
    Binary,
    Gap,
    Hello,
    History,
    Join,
    Leave,
    Limits,
    Pong,
    Presence,
    PresentSession,
    Publication,
    Refreshed,
    ServerError,
    ServerMessage,
    Stats,
    Subscribed,
)


def parse_message(text: str) -> ServerMessage | None:
    """Read a text message; None for a type that is not known. Raises ProtocolFault."""
    try:
        fields = json.loads(text)
        build = _BUILDERS.get(fields["type"])
        return None if build is None else build(fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolFault(f"a malformed message: {error!r}: {text[:200]}") from error


def _reader(kind: type[Any], **convert: Callable[[Any], Any]) -> Callable[[dict[str, Any]], Any]:
    """Builds a structure from the fields that it knows, some of them converted."""
    own = {"position", "is_new_epoch", *(("data",) if kind is Binary else ())}
    known = {field.name: field.name for field in dataclasses.fields(kind) if field.name not in own}
    if kind is Binary:
        known["bytes"] = known.pop("size")

    def build(fields: dict[str, Any]) -> Any:
        values = {known[name]: value for name, value in fields.items() if name in known}
        for name, function in convert.items():
            if name in values:
                values[name] = function(values[name])
        return kind(**values)

    return build


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _offset(value: object) -> int | None:
    if value is not None and (type(value) is not int or value < 0):
        raise ValueError(f"{value!r} is no offset")
    return value


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


_limits = _reader(Limits)
_publication = _reader(Publication, offset=_offset, server_time=_time, skipped=_count)
_header = _reader(
    Binary,
    offset=_offset,
    server_time=_time,
    skipped=_count,
    shape=tuple,
    size=_count,
    chunks=_count,
)
_present = _reader(PresentSession, since=_time)


def _item(fields: dict[str, Any]) -> Publication | Binary:
    item: Publication | Binary = (
        _header(fields) if fields["type"] == "binary" else _publication(fields)
    )
    return item


_BUILDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "hello": _reader(Hello, expires_at=_time, server_time=_time, limits=_limits),
    "subscribed": _reader(Subscribed, offset=_offset, next=_offset),
    "publication": _publication,
    "stats": _reader(Stats, offset=_offset, server_time=_time, skipped=_count),
    "binary": _header,
    "gap": _reader(Gap, after=_count, next=_count),
    "join": _reader(Join),
    "leave": _reader(Leave),
    "presence": _reader(Presence, sessions=lambda all: tuple(map(_present, all))),
    "history": _reader(History, publications=lambda all: tuple(map(_item, all))),
    "ack": _reader(Ack, offset=_offset),
    "refreshed": _reader(Refreshed, expires_at=_time),
    "pong": _reader(Pong, server_time=_time),
    "error": _reader(ServerError),
}
