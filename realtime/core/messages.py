"""The text messages of protocol `realtime.v1`, as typed structures: sections 3 and 4.

Client messages are decoded strictly: an unknown field is an error that names its path.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from realtime.core.errors import InvalidMessage

Ref = Annotated[str, Meta(max_length=64)] | Annotated[int, Meta(ge=-(2**53), le=2**53)] | None
PublicationId = Annotated[str, Meta(min_length=1, max_length=64)]
Count = Annotated[int, Meta(ge=1)]
Offset = Annotated[int, Meta(ge=0)]

MAX_HISTORY_LIMIT = 1000


class ClientMessage(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"
):
    """Any message from a client: `type` chooses the structure."""

    ref: Ref = None


class Authenticate(ClientMessage, tag="authenticate", frozen=True, kw_only=True):
    token: str


class Refresh(ClientMessage, tag="refresh", frozen=True, kw_only=True):
    token: str


class Publish(ClientMessage, tag="publish", frozen=True, kw_only=True):
    data: Any
    id: PublicationId | None = None


class BinaryUpload(ClientMessage, tag="binary", frozen=True, kw_only=True):
    """The header of `chunks` binary messages that follow."""

    format: Annotated[str, Meta(max_length=127)] | None = None
    id: PublicationId | None = None
    chunks: Count


class ArrayRequest(ClientMessage, tag="request", frozen=True, kw_only=True):
    shape: list[Annotated[int, Meta(ge=0)]]
    dtype: str = "float64"
    source: Annotated[str, Meta(max_length=64)] = "random"


class PresenceQuery(ClientMessage, tag="presence", frozen=True, kw_only=True):
    pass


class HistoryQuery(ClientMessage, tag="history", frozen=True, kw_only=True):
    after: Offset = 0
    epoch: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_HISTORY_LIMIT)] = 100


class Ping(ClientMessage, tag="ping", frozen=True, kw_only=True):
    pass


AnyClientMessage = (
    Authenticate
    | Refresh
    | Publish
    | BinaryUpload
    | ArrayRequest
    | PresenceQuery
    | HistoryQuery
    | Ping
)


class ServerMessage(Struct, frozen=True, kw_only=True, tag_field="type"):
    """Any message from the server; a field that is UNSET is left out."""


class Limits(Struct, frozen=True, kw_only=True):
    """The longest text, publication (sum of its chunks) and single message, in bytes."""

    max_text_bytes: int
    max_binary_bytes: int
    max_frame_bytes: int


class Hello(ServerMessage, tag="hello", frozen=True, kw_only=True):
    session: str
    instance: str
    user: str | None
    expires_at: str | None
    protocol: str
    server_time: str
    ping_interval: float
    limits: Limits


class Subscribed(ServerMessage, tag="subscribed", frozen=True, kw_only=True):
    topic: str
    epoch: str | None
    offset: int | None
    next: int | None
    recovered: bool | None


class Publication(ServerMessage, tag="publication", frozen=True, kw_only=True):
    topic: str
    offset: int | None
    data: msgspec.Raw
    user: str | None
    server_time: str
    skipped: int | UnsetType = UNSET


class BinaryHeader(ServerMessage, tag="binary", frozen=True, kw_only=True):
    topic: str
    offset: int | None
    format: str
    dtype: str | UnsetType = UNSET
    shape: tuple[int, ...] | UnsetType = UNSET
    bytes: int
    chunks: int
    user: str | None
    server_time: str
    ref: Ref = None
    skipped: int | UnsetType = UNSET


class Gap(ServerMessage, tag="gap", frozen=True, kw_only=True):
    topic: str
    epoch: str
    after: int
    next: int
    reason: str


class Join(ServerMessage, tag="join", frozen=True, kw_only=True):
    topic: str
    user: str | None
    session: str


class Leave(ServerMessage, tag="leave", frozen=True, kw_only=True):
    topic: str
    user: str | None
    session: str


class PresentSession(Struct, frozen=True, kw_only=True):
    session: str
    user: str | None
    since: str


class PresenceReply(ServerMessage, tag="presence", frozen=True, kw_only=True):
    """The oldest sessions of a topic; `count` is the number of all."""

    ref: Ref
    topic: str
    sessions: list[PresentSession]
    count: int


class HistoryReply(ServerMessage, tag="history", frozen=True, kw_only=True):
    ref: Ref
    topic: str
    epoch: str
    top: int
    publications: list[Publication | BinaryHeader]
    complete: bool


class Ack(ServerMessage, tag="ack", frozen=True, kw_only=True):
    ref: Ref
    topic: str
    offset: int | None
    epoch: str | None
    duplicate: bool


class Refreshed(ServerMessage, tag="refreshed", frozen=True, kw_only=True):
    ref: Ref
    expires_at: str


class Pong(ServerMessage, tag="pong", frozen=True, kw_only=True):
    ref: Ref
    server_time: str


class ErrorMessage(ServerMessage, tag="error", frozen=True, kw_only=True):
    ref: Ref
    code: str
    detail: str


T = TypeVar("T")
_ENCODER = msgspec.json.Encoder()


def encode_message(message: ServerMessage | dict[str, Any]) -> str:
    """The JSON text of a message."""
    return _ENCODER.encode(message).decode()


def encode_data(data: Any) -> bytes:
    """The JSON of a publication's data; raises InvalidMessage where it has no JSON form."""
    try:
        return _ENCODER.encode(data)
    except (TypeError, ValueError, OverflowError, UnicodeError, RecursionError) as error:
        raise InvalidMessage(f"the data has no JSON form: {error}") from error


def convert(fields: Any, type: type[T]) -> T:
    """Check decoded JSON against a structure; raises InvalidMessage that names the path."""
    try:
        return msgspec.convert(fields, type)
    except msgspec.ValidationError as error:
        raise InvalidMessage(str(error)) from error


def parse_message(fields: dict[str, Any]) -> AnyClientMessage:
    """Read a client's message of the full form, which has a `type`; raises InvalidMessage."""
    if not isinstance(fields.get("type"), str):
        raise InvalidMessage(
            '"type" has to be a string; data with a type of its own goes in '
            '{"type": "publish", "data": …}'
        )
    return convert(fields, AnyClientMessage)  # type: ignore[arg-type]


def find_ref(fields: dict[str, Any]) -> Ref:
    """The `ref` of a message that may be wrong otherwise, so that its error can carry it."""
    try:
        ref: Ref = msgspec.convert(fields.get("ref"), Ref)
    except msgspec.ValidationError:
        return None
    return ref


def format_time(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339, UTC, with microseconds and `Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
