"""The publications of one topic in memory: bounded by its namespace, counted by publisher."""

import uuid
from collections import OrderedDict, deque
from typing import NamedTuple

from realtime.conf import Namespace
from realtime.core.entries import Body
from realtime.history.base import ID_MEMORY, PAGE_BYTES, Item, Page

# What one takes in memory besides its body, about; measured with CPython 3.11.
ENTRY_BYTES = 80
ID_BYTES = 260
TOPIC_BYTES = 2560
# What goes at a time where a log has to shrink.
SHRINK_STEPS = 50


class KnownId(NamedTuple):
    """A publication that had an id."""

    offset: int
    time: float
    publisher: str


class Log:
    """One topic's publications.

    `size` is what they, their ids and the log itself take, in bytes; `parts` says whose that is
    (the log itself belongs to who published first), and is kept by the history. What a method
    takes or gives back it adds to `changes`, by publisher.
    """

    __slots__ = (
        "_owner",
        "_publishers",
        "bodies",
        "bytes",
        "epoch",
        "expires",
        "ids",
        "parts",
        "top",
        "used",
    )

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.top = 0
        self.bodies: deque[Body] = deque()
        self.bytes = 0
        self.expires = float("inf")
        self.ids: OrderedDict[str, KnownId] = OrderedDict()  # the oldest first
        self.parts: dict[str, int] = {}
        self.used = 0
        self._publishers: deque[str] = deque()  # of the bodies
        self._owner: str | None = None

    @property
    def first(self) -> int:
        """The offset of the first publication that is retained."""
        return self.top - len(self.bodies) + 1

    @property
    def size(self) -> int:
        """What all of it takes."""
        return self.bytes + ENTRY_BYTES * len(self.bodies) + ID_BYTES * len(self.ids) + TOPIC_BYTES

    def append(self, item: Item, namespace: Namespace, now: float, changes: dict[str, int]) -> None:
        """Add one and trim."""
        publisher, size = item.publisher, len(item.body)
        self.top += 1
        self.bodies.append(item.body)
        self._publishers.append(publisher)
        self.bytes += size
        taken = size + ENTRY_BYTES
        if item.id:
            self.ids[item.id] = KnownId(self.top, now, publisher)
            taken += ID_BYTES
        if self._owner is None:
            self._owner = publisher
            taken += TOPIC_BYTES
        changes[publisher] = changes.get(publisher, 0) + taken
        while len(self.bodies) > 1 and (
            len(self.bodies) > namespace.history_size or self.bytes > namespace.history_bytes
        ):
            self._drop_oldest(changes)

    def shrink(self, size: int, changes: dict[str, int]) -> bool:
        """Drop the oldest publications, or else ids, that take so many bytes, some dozen at a time;
        the newest publication stays. False: there are no more."""
        most = self.size - size
        for step in range(SHRINK_STEPS):
            if step and self.size <= most:
                break
            if len(self.bodies) > 1:
                self._drop_oldest(changes)
            elif self.ids:
                self._drop_oldest_id(changes)
            else:
                return step > 0
        return True

    def expire(self, now: float, changes: dict[str, int]) -> None:
        """Drop old ids, and all publications if the topic has been quiet for its time."""
        while self.ids and next(iter(self.ids.values())).time < now - ID_MEMORY:
            self._drop_oldest_id(changes)
        if now >= self.expires:
            while self.bodies:
                self._drop_oldest(changes)

    def read(self, *, after: int, limit: int) -> Page:
        """A page of them."""
        start = max(after + 1, self.first)
        bodies, size = [], 0
        for index in range(start - self.first, min(len(self.bodies), start - self.first + limit)):
            bodies.append(self.bodies[index])
            size += len(self.bodies[index])
            if size >= PAGE_BYTES:
                break
        links = [b""] * len(bodies)  # a memory never goes back
        return Page(self.epoch, self.first, self.top, start, bodies, links)

    def _drop_oldest(self, changes: dict[str, int]) -> None:
        size, publisher = len(self.bodies.popleft()), self._publishers.popleft()
        self.bytes -= size
        changes[publisher] = changes.get(publisher, 0) - size - ENTRY_BYTES

    def _drop_oldest_id(self, changes: dict[str, int]) -> None:
        _, known = self.ids.popitem(last=False)
        changes[known.publisher] = changes.get(known.publisher, 0) - ID_BYTES


def make_epoch() -> str:
    """The name of a topic's life that begins."""
    return uuid.uuid4().hex[:12]
