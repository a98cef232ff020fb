"""What the server says, as frozen structures: section From the server of the protocol."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from realtime_client.arrays import read_array
from realtime_client.positions import Position

if TYPE_CHECKING:
    from realtime_client.arrays import NDArray

Ref = str | int | None


@dataclass(frozen=True, slots=True)
class Limits:
    """In bytes: the longest text to the server, publication, and single binary message."""

    max_text_bytes: int
    max_binary_bytes: int
    max_frame_bytes: int


@dataclass(frozen=True, slots=True)
class Hello:
    """The beginning of a session; `user` and `expires_at` are None where it is anonymous."""

    session: str
    instance: str
    user: str | None
    expires_at: datetime | None
    protocol: str
    server_time: datetime
    ping_interval: float
    limits: Limits


@dataclass(frozen=True, slots=True)
class Subscribed:
    """Where a subscription begins. Without history, `epoch`, `offset` and `next` are None."""

    topic: str
    epoch: str | None
    offset: int | None
    next: int | None
    recovered: bool | None


@dataclass(frozen=True, slots=True)
class Publication:
    """One item of a broadcast topic. `position` is where a reader stands after it."""

    topic: str
    offset: int | None
    data: Any
    user: str | None
    server_time: datetime
    skipped: int = 0
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of a window, as they stood after the publication `offset`.

    A figure is None where it is undefined, or was not asked for.
    """

    topic: str
    offset: int | None
    window: str
    value: float | None
    count: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    server_time: datetime | None
    sum: float | None = None
    var: float | None = None
    median: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    first: float | None = None
    rate: float | None = None
    nan_count: int | None = None
    skipped: int = 0
    position: Position | None = None


@dataclass(frozen=True)
class Binary:
    """One array or blob. `format` is `npy` or a media type; `data` the whole of its bytes."""

    topic: str
    offset: int | None
    format: str
    size: int  # of `data`, also where that is not here
    chunks: int
    user: str | None
    server_time: datetime
    ref: Ref = None
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    skipped: int = 0
    data: bytes = b""
    position: Position | None = None

    @cached_property
    def array(self) -> "NDArray":
        """The array, as a read-only view of `data`; raises ArrayError where it is none."""
        return read_array(self.data)


@dataclass(frozen=True, slots=True)
class Gap:
    """Publications that will not come: those after `after`, before `next` in `epoch`."""

    topic: str
    epoch: str
    after: int
    next: int
    reason: str
    is_new_epoch: bool = False
    position: Position | None = None

    @property
    def lost(self) -> int | None:
        """How many; None where the topic began anew and nobody knows."""
        return None if self.is_new_epoch else max(self.next - self.after - 1, 0)


@dataclass(frozen=True, slots=True)
class Join:
    """Another session has come to the topic: a hint."""

    topic: str
    user: str | None
    session: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Another session has gone: a hint."""

    topic: str
    user: str | None
    session: str


@dataclass(frozen=True, slots=True)
class ServerError:
    """The server refused something that had no `ref`, so that nobody waits for the answer."""

    ref: Ref
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Ack:
    """A publish is accepted at this position; None where the topic has no history."""

    ref: Ref
    topic: str
    offset: int | None
    epoch: str | None
    duplicate: bool


@dataclass(frozen=True, slots=True)
class PresentSession:
    """Somebody on a topic."""

    session: str
    user: str | None
    since: datetime


@dataclass(frozen=True, slots=True)
class Presence:
    """The oldest sessions of a topic; `count` is the number of all."""

    ref: Ref
    topic: str
    sessions: tuple[PresentSession, ...]
    count: int


@dataclass(frozen=True, slots=True)
class History:
    """A page of the past. Binary ones are headers, without their `data`."""

    ref: Ref
    topic: str
    epoch: str
    top: int
    publications: tuple[Publication | Binary, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The session lives as long as its new token."""

    ref: Ref
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a ping."""

    ref: Ref
    server_time: datetime


# What an application reads from a stream.
Message = Publication | Stats | Binary | Gap | Join | Leave | ServerError
# What answers something that was asked with a `ref`.
Reply = Ack | Presence | History | Refreshed | Pong | ServerError | Binary
ServerMessage = Message | Reply | Hello | Subscribed
