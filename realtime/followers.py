"""Those who want each publication of a topic, and how it gets to them."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Protocol

from realtime.encoding import Burst, LivePublication

logger = logging.getLogger("realtime.hub")

# Under load, publications that come within this time leave together.
JOIN_SECONDS = 0.001


class Follower(Protocol):
    """Something that wants each publication of a topic, in order."""

    def push(self, publication: LivePublication) -> None:
        """The next publication."""

    def push_burst(self, burst: Burst) -> None:
        """The next publications, all at once."""

    def lose(self, *, epoch: str, next: int, reason: str) -> None:
        """What lies before offset `next` of `epoch` will not come."""

    def fail(self) -> None:
        """It raised on one of these, and gets no more: whoever reads it has to come back."""


class Followers:
    """The followers of one topic in this process, served in the order in which they came."""

    def __init__(self) -> None:
        # The view that the topic's statistics share, once somebody asked for it. It comes before
        # the subscriptions that read it.
        self.statistics: Follower | None = None
        self._loop = asyncio.get_running_loop()
        self._followers: dict[Follower, None] = {}
        self._outgoing: list[LivePublication] = []  # in order, not handed on yet
        self._arrived = 0.0
        self._join_timer: asyncio.TimerHandle | None = None

    def __iter__(self) -> Iterator[Follower]:
        """Those of this moment: they may come and go meanwhile."""
        return iter(tuple(self._followers))

    def __contains__(self, follower: Follower) -> bool:
        return follower in self._followers

    def __len__(self) -> int:
        return len(self._followers)

    def add(self, follower: Follower) -> None:
        """From the next publication on."""
        self._followers[follower] = None

    def discard(self, follower: Follower) -> None:
        """No publication more."""
        self._followers.pop(follower, None)

    def clear(self) -> None:
        """Hand on what waits; it was the last for all of them."""
        self.flush()
        self._followers.clear()
        self.statistics = None

    def push(self, publications: list[LivePublication]) -> None:
        """Hand on at once, or under load together with what comes within a millisecond."""
        if not publications:
            return
        self._outgoing += publications
        now = self._loop.time()
        is_busy = now - self._arrived < JOIN_SECONDS
        self._arrived = now
        if self._join_timer is None:
            if is_busy:
                self._join_timer = self._loop.call_later(JOIN_SECONDS, self.flush)
            else:
                self.flush()

    def flush(self) -> None:
        """Hand on what waits."""
        if self._join_timer is not None:
            self._join_timer.cancel()
            self._join_timer = None
        publications, self._outgoing = self._outgoing, []
        if len(publications) > 1 and self.statistics is None:
            self._hand_on(Burst(publications))
            return
        for publication in publications:  # a view and those who read it go step by step
            self._hand_on(publication)

    def lose(self, *, epoch: str, next: int, reason: str) -> None:
        """Tell of a loss, after what came before it."""
        self.flush()
        for follower in self:
            try:
                follower.lose(epoch=epoch, next=next, reason=reason)
            except Exception:
                logger.exception("a follower failed")
                self._fail(follower)

    def _hand_on(self, item: LivePublication | Burst) -> None:
        followers = iter(self)
        while True:
            try:  # around the loop, which goes on behind a follower that fails
                if isinstance(item, Burst):
                    for follower in followers:
                        follower.push_burst(item)
                else:
                    for follower in followers:
                        follower.push(item)
                return
            except Exception:
                logger.exception("a follower failed")
                self._fail(follower)

    def _fail(self, follower: Follower) -> None:
        self.discard(follower)
        try:
            follower.fail()
        except Exception:
            logger.exception("a follower that failed could not be ended")
