"""What a history does, whatever keeps it."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from realtime.conf import Namespace
from realtime.core.entries import Body
from realtime.core.errors import RateLimited, Unavailable
from realtime.core.positions import Position
from realtime.core.topics import Topic

# The type of the layer's messages that carry publications.
PUBLICATIONS = "publications"
# A page stops after the publication that takes it over this many bytes.
PAGE_BYTES = 256 * 1024
# A longer body is announced by its offset only; each hub then reads it once from the history.
# (Redis cuts a subscriber with 32 MiB waiting, and with it every topic.)
LONGEST_CARRIED = 64 * 1024
# What `read_heads` gives of each body: all that is not data (a format of up to 127 bytes, a user's
# name of 254 characters), and of the data the longest header of an array.
HEAD_BYTES = 6 * 1024
# How long a publication's id is remembered, in seconds.
ID_MEMORY = 300
# The epoch of a topic of which the history knows nothing: reading it leaves no trace.
NO_EPOCH = "0" * 12
# Who publishes where it is no client: the server's own code.
SERVER = "server"


@dataclass(frozen=True, slots=True)
class Item:
    """A publication to be appended: its body, and its id within the topic (scoped to the user).

    `publisher` is whose share of the history it is: a user's, an address's, or the server's.
    """

    body: Body
    id: str | None = None
    publisher: str = SERVER


@dataclass(frozen=True, slots=True)
class Batch:
    """Publications for one topic, in order, with the namespace that bounds its history.

    `known` is the last publication that is known to have been accepted: a history that has
    lost it begins a new epoch. `type` is that of the message which announces the batch.
    """

    topic: Topic
    namespace: Namespace
    items: Sequence[Item]
    known: Position | None = None
    type: str = PUBLICATIONS


@dataclass(frozen=True, slots=True)
class Accepted:
    """Where the publications of a batch stand.

    `offsets` has one for each item; `first` is the first retained offset afterwards. Items whose
    id was known already are in `duplicates` (by index), with the offset of the first one.
    `link` is that of the first new one (see `realtime.core.positions`); the new ones share a mark.
    `retained` are the bytes of the topic's bodies afterwards, where a store has quotas.
    `unannounced` says why the store could not announce the batch, where it could not.
    """

    epoch: str
    offsets: Sequence[int]
    duplicates: frozenset[int]
    first: int
    link: bytes = b""
    retained: int = 0
    unannounced: str = ""


@dataclass(frozen=True, slots=True)
class Top:
    """The last publication of a topic and its mark, which is empty where marks are not needed."""

    epoch: str
    offset: int
    mark: bytes = b""


@dataclass(frozen=True, slots=True)
class Size:
    """What is retained of a topic: publications, and the bytes of their bodies."""

    publications: int
    bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """Retained publications in a row: those with the offsets `start`, `start` + 1, ….

    `first` is the first retained offset (`top` + 1 where none is), `top` the last one given and
    `mark` its mark. Each body has a link.
    """

    epoch: str
    first: int
    top: int
    start: int
    bodies: Sequence[Body]
    links: Sequence[bytes]
    mark: bytes = b""

    @property
    def end(self) -> int:
        """The offset of the last publication in it, or the one before `start`."""
        return self.start + len(self.bodies) - 1


class History(ABC):
    """An append-only, bounded list of publications for each topic.

    Offsets begin at 1 and rise by 1 within an epoch. Every method raises Unavailable where the
    store does not answer in time.
    """

    # Whether append() also announces a batch to the topic's group in the channel layer.
    announces: bool = False
    # What the layer puts before the name of a group, where append() announces.
    group_prefix: str | None = None
    # Whether reading costs a round trip, so that a process had better keep what is new.
    is_remote: bool = False
    # Publishers (`Item.publisher`) over a quota, if the store has any: ask `find_refusal`.
    exhausted: Collection[str] = frozenset()

    def find_refusal(self, publisher: str, topic: Topic) -> RateLimited | None:
        """Why one of the `exhausted` may not publish to this topic now; None where it may."""
        return None

    @abstractmethod
    async def append(self, batches: Sequence[Batch]) -> list[Accepted | Unavailable]:
        """Append each batch at once and whole; batches of different topics fail apart."""

    @abstractmethod
    async def read(self, topic: Topic, *, after: int, limit: int, is_held: bool = False) -> Page:
        """Up to `limit` publications after an offset (from the first retained one).

        A topic of which nothing is known is at offset 0 of `NO_EPOCH`, and reading it leaves no
        trace; where it `is_held` it gets an epoch as from `read_tops`.
        """

    @abstractmethod
    async def read_heads(self, topic: Topic, *, after: int, limit: int) -> Page:
        """The same with the first `HEAD_BYTES` of each body; the rest is not moved at all."""

    @abstractmethod
    async def read_tops(self, topics: Sequence[Topic]) -> list[Top]:
        """The top of each topic; a topic that has none yet gets its epoch, at offset 0.

        It is asked for the topics that somebody holds, again and again.
        """

    @abstractmethod
    async def measure(self, topics: Sequence[Topic]) -> list[Size]:
        """What is retained of each topic; looking at one leaves no trace."""

    @abstractmethod
    async def renew_epoch(self, topic: Topic, *, lost: str) -> None:
        """Begin a new epoch, since `lost` gave offsets twice; nothing if it has ended already."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections."""
