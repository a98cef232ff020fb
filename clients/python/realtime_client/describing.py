"""Messages as JSON and as lines of text, for people and pipes."""

import base64
import math
from dataclasses import fields
from datetime import datetime
from typing import Any

from realtime_client.messages import (
    Binary,
    Gap,
    Join,
    Leave,
    Message,
    Publication,
    ServerError,
    Stats,
)
from realtime_client.positions import Position


def describe_message(message: Message) -> dict[str, Any]:
    """All of a message as JSON can have it; an array as nested lists, other bytes in base64."""
    described: dict[str, Any] = {"type": type(message).__name__.lower()}
    for field in fields(message):
        value = getattr(message, field.name)
        if isinstance(value, datetime):
            value = value.isoformat()
        elif isinstance(value, Position):
            value = f"{value.epoch}:{value.offset}"
        elif isinstance(value, bytes):
            continue
        described[field.name] = value
    if isinstance(message, Binary):
        if message.format == "npy" and message.array.dtype.kind != "c":
            described["data"] = _make_finite(message.array.tolist())
        else:
            described["base64"] = base64.b64encode(message.data).decode()
    return described


def format_message(message: Message) -> str:
    """One line for a person."""
    match message:
        case Publication():
            return f"{message.offset} {message.user or '-'}: {message.data}{_skipped(message)}"
        case Stats():
            figures = ", ".join(
                f"{name} {value:g}"
                for name in _FIGURES
                if (value := getattr(message, name)) is not None
            )
            return f"{message.offset} last {message.window}: {figures}{_skipped(message)}"
        case Binary():
            what = f"{message.dtype} {message.shape}" if message.dtype else message.format
            size = f"{message.size} bytes"
            return f"{message.offset} {message.user or '-'}: {what}, {size}{_skipped(message)}"
        case Gap():
            count = "an unknown number" if message.lost is None else message.lost
            return f"-- lost: {count} after {message.after} ({message.reason})"
        case Join() | Leave():
            return f"-- {message.user or 'somebody'} {type(message).__name__.lower()}s"
        case ServerError():
            return f"-- {message.code}: {message.detail}"


_FIGURES = [
    field.name
    for field in fields(Stats)
    if field.name not in ("topic", "offset", "window", "server_time", "skipped", "position")
]


def _make_finite(value: Any) -> Any:
    """Nested lists with null for what JSON has no number for."""
    if isinstance(value, list):
        return [_make_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _skipped(message: Publication | Stats | Binary) -> str:
    return f" ({message.skipped} skipped)" if message.skipped else ""
