"""Where a reader stands on a topic, and how a process keeps publications in order.

The channel layer may lose, repeat or reorder what it carries; the history has the truth.
`Sequence` turns the first into the second: it lets through each offset once and in order,
holds what came early, and names the range that has to be read from the history.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Bytes of a publication's mark; a link is two of them.
MARK_BYTES = 8
# Early items that are held while a jump is open; what comes beyond is read from the history.
MAX_HELD = 1024


@dataclass(frozen=True, slots=True)
class Position:
    """The last publication that a reader has: `offset` counts within an `epoch`, from 1."""

    epoch: str
    offset: int


class Sequence(Generic[Item]):
    """The order of one topic within one epoch, from `offset` on.

    Each item comes with a link: the mark of the one before it and its own, `MARK_BYTES` each.
    Where they do not fit, the history was replaced by another one (an old snapshot, a server
    that took over without the newest writes) and gives offsets a second time. Empty links fit
    everywhere.
    """

    def __init__(self, *, epoch: str, offset: int, mark: bytes = b"") -> None:
        self.epoch = epoch
        self.offset = offset
        self.mark = mark  # of the publication at `offset`; empty where it is not known
        self.announced = offset  # the highest offset that is known to exist
        self.is_broken = False  # nothing more is let through
        self._held: dict[int, tuple[Item, bytes]] = {}

    @property
    def position(self) -> Position:
        """The last offset that was let through."""
        return Position(self.epoch, self.offset)

    @property
    def has_jump(self) -> bool:
        """Whether something after `offset` exists that has not come."""
        return self.announced > self.offset

    def accept(
        self, *, first: int, items: Iterable[Item | None], links: Iterable[bytes]
    ) -> list[tuple[int, Item, bytes]]:
        """Take items with the offsets `first`, `first` + 1, …; return those now in order.

        None stands for an item that exists but was not carried. Repeats vanish.
        """
        ready: list[tuple[int, Item, bytes]] = []
        for offset, (item, link) in enumerate(zip(items, links, strict=True), first):
            self.announced = max(self.announced, offset)
            if item is None or offset <= self.offset:
                continue
            if offset == self.offset + 1:  # always taken: a full hold has to be able to move on
                self._held[offset] = item, link
                ready += self._release()
            elif len(self._held) < MAX_HELD:
                self._held[offset] = item, link
        return ready + self._release()

    def settle(self, *, announced: int, top: int) -> None:
        """Take the history's word for what exists, unless more was announced since.

        `announced` is what was known when the history was asked, `top` its answer.
        """
        if self.announced == announced:
            self.announced = max(self.offset, top)

    def skip_to(self, offset: int) -> None:
        """Give up what lies between here and `offset`: it is gone from the history."""
        if offset > self.offset:
            self.offset = offset
            self.mark = b""
            self.announced = max(self.announced, offset)
            self._held = {held: item for held, item in self._held.items() if held > offset}

    def _release(self) -> list[tuple[int, Item, bytes]]:
        ready: list[tuple[int, Item, bytes]] = []
        while not self.is_broken and (held := self._held.pop(self.offset + 1, None)) is not None:
            item, link = held
            if not fits(self.mark, link[:MARK_BYTES]):
                self.is_broken = True
                break
            self.offset += 1
            self.mark = link[MARK_BYTES:]
            ready.append((self.offset, item, link))
        return ready


def fits(mark: bytes, other: bytes) -> bool:
    """Whether two marks can belong to the same publication; an empty one is not known."""
    return mark == other or not mark or not other


def link_batch(link: bytes, count: int) -> list[bytes]:
    """The links of the `count` publications of one batch, which share one mark."""
    mark = link[MARK_BYTES:]
    return [link] + [mark + mark] * (count - 1)
