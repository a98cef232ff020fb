"""How fast topics move: from their tops as this process saw them, now and a while ago."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence

from realtime.core.topics import Topic
from realtime.history import History, Top

# Looks that are nearer or further apart, in seconds, say little about now.
NEAREST = 1.0
FURTHEST = 300.0
# Topics that are remembered; the one that was looked at longest ago goes first.
MAX_TOPICS = 10_000


class Looks:
    """The last look at each topic. Used by one thread: that of the event loop."""

    def __init__(self) -> None:
        self._looks: OrderedDict[Topic, tuple[float, Top]] = OrderedDict()

    def compare(
        self, topics: Sequence[Topic], tops: Sequence[Top], *, now: float
    ) -> list[float | None]:
        """Publications a second since the look before; None where none fits, then look again.

        `now` is in seconds of a clock that never goes back.
        """
        rates = [self._compare(topic, top, now) for topic, top in zip(topics, tops, strict=True)]
        while len(self._looks) > MAX_TOPICS:
            self._looks.popitem(last=False)
        return rates

    def _compare(self, topic: Topic, top: Top, now: float) -> float | None:
        then, before = self._looks.get(topic, (now, None))
        fits = before is not None and before.epoch == top.epoch and now - then <= FURTHEST
        if fits and now - then < NEAREST:
            return None  # the earlier look stays: soon it is old enough
        self._looks[topic] = (now, top)
        self._looks.move_to_end(topic)
        if before is None or not fits:
            return None
        return max(top.offset - before.offset, 0) / (now - then)


looks = Looks()


async def measure_rates(
    history: History, topics: Sequence[Topic]
) -> tuple[list[Top], list[float | None]]:
    """The tops and the publications a second; takes a second where nobody looked lately.

    Raises Unavailable.
    """
    tops = await history.read_tops(topics)
    rates = looks.compare(topics, tops, now=time.monotonic())
    if None in rates:
        await asyncio.sleep(NEAREST + 0.05)  # a timer may be early by a tick
        tops = await history.read_tops(topics)
        again = looks.compare(topics, tops, now=time.monotonic())
        rates = [new if old is None else old for old, new in zip(rates, again, strict=True)]
    return tops, rates
