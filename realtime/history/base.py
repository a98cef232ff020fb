"""What a history does, whatever keeps it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from realtime.conf import Namespace
from realtime.core.errors import Unavailable
from realtime.core.positions import Position
from realtime.core.topics import Topic

# A page stops after the publication that takes it over this many bytes.
PAGE_BYTES = 256 * 1024
# How long a publication's id is remembered, in seconds.
ID_MEMORY = 300


@dataclass(frozen=True, slots=True)
class Item:
    """A publication to be appended: its body, and its id within the topic (scoped to the user)."""

    body: bytes
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Publications for one topic, in order, with the namespace that bounds its history."""

    topic: Topic
    namespace: Namespace
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Accepted:
    """Where the publications of a batch stand.

    `offsets` has one for each item; `first` is the first retained offset afterwards. Items whose
    id was known already are in `duplicates` (by index), with the offset of the first one.
    """

    epoch: str
    offsets: Sequence[int]
    duplicates: frozenset[int]
    first: int


@dataclass(frozen=True, slots=True)
class Page:
    """Retained publications in a row: those with the offsets `start`, `start` + 1, ….

    `first` is the first retained offset (`top` + 1 where none is), `top` the last one given.
    """

    epoch: str
    first: int
    top: int
    start: int
    bodies: Sequence[bytes]


class History(ABC):
    """An append-only, bounded list of publications for each topic.

    Offsets begin at 1 and rise by 1 within an epoch. Every method raises Unavailable where the
    store does not answer in time.
    """

    # Whether append() also announces a batch to the topic's group in the channel layer.
    announces: bool = False

    @abstractmethod
    async def append(self, batches: Sequence[Batch]) -> list[Accepted | Unavailable]:
        """Append each batch at once and whole; batches of different topics fail apart."""

    @abstractmethod
    async def read(self, topic: Topic, *, after: int, limit: int) -> Page:
        """Up to `limit` publications after an offset (from the first retained one)."""

    @abstractmethod
    async def read_tops(self, topics: Sequence[Topic]) -> list[Position]:
        """The position of each topic; a topic that has none yet gets its epoch, at offset 0."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections."""
