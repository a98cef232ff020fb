"""Publishes this machine's own live metrics, so that there is real data to look at.

| topic | carries | how often |
|---|---|---|
| `stats:host.cpu`, `stats:host.cpu.<n>` | percent, over all cores and of core n | each tick |
| `stats:host.load` | load average of the last minute | each tick |
| `stats:host.memory` | percent | each tick |
| `stats:host.network`, `stats:host.disk` | bytes a second, both directions together | each tick |
| `arrays:host.cpu` | float32 (cores, 300): percent of each core in each second | each second |
| `arrays:pond` | float32 (60, 96): the water of a pond in the rain, made up | each tick |
| `broadcast:host.events` | `{"kind", "text", "value", …}` | when something changes |
"""

import asyncio
import logging
import math
import platform
import uuid
from collections import deque
from collections.abc import Awaitable
from typing import Protocol

import psutil

import realtime
from demo.events import Event, EventDetector
from demo.host import CoreHistory, Sample, Sampler, mean_cores
from demo.pond import Pond

logger = logging.getLogger(__name__)


class Publish(Protocol):
    """The shape of `realtime.apublish`."""

    def __call__(self, topic: str, data: object, *, id: str | None = None) -> Awaitable[object]: ...


async def publish_host_metrics(*, interval: float = 0.1, publish: Publish | None = None) -> None:
    """Publish a sample every `interval` seconds (over 0, up to 1) until cancelled.

    Ticks stay on the grid of the first one: a late one makes none of the others late, and
    one that was missed is left out. Raises `realtime.errors.NotRunning` where nobody could hear.
    """
    if not 0 < interval <= 1:
        raise ValueError(f"The interval must be over 0 and at most 1 second, not {interval:g}.")
    loop = asyncio.get_running_loop()
    feed = Feed(Sampler(), publish or realtime.apublish)
    start = loop.time()
    while True:
        due = next_tick(start, interval, loop.time())
        await asyncio.sleep(due - loop.time())
        await feed.tick(due - start)


def next_tick(start: float, interval: float, now: float) -> float:
    """The first point after `now` of the grid that begins at `start`; all in seconds."""
    return start + (math.floor((now - start) / interval + 1e-9) + 1) * interval


class Feed:
    """Takes a sample at each tick and publishes what follows from it.

    While publishing is unavailable, samples are dropped: they would be old news. Events
    are kept, the last hundred of them, and sent again under the same id.
    """

    def __init__(self, sampler: Sampler, publish: Publish) -> None:
        self._sampler = sampler
        self._publish = publish
        self._history = CoreHistory()
        self._pond = Pond()
        self._detector = EventDetector()
        self._events: deque[tuple[str, Event]] = deque(maxlen=100)
        self._second: list[Sample] = []  # the samples since the last whole second
        self._seconds = 0  # whole seconds that are in the history
        self._outage = False
        self._tell(_describe_host())

    async def tick(self, now: float) -> None:
        """Sample and publish once; `now` is in seconds since the feed began."""
        sample = self._sampler.read()
        self._second.append(sample)
        work = [self._publish(topic, value) for topic, value in _samples_by_topic(sample)]
        work.append(self._publish("arrays:pond", self._pond.advance()))
        # A tick may come a hair before its second by rounding.
        passed = math.floor(now + 1e-6) - self._seconds
        if passed > 0:
            self._close_second(now, passed)
            work.append(self._publish("arrays:host.cpu", self._history.snapshot()))
        if self._events:
            work.append(self._publish_events())
        self._note(await asyncio.gather(*work, return_exceptions=True))

    def _close_second(self, now: float, passed: int) -> None:
        cores = mean_cores(self._second)
        self._history.append(cores, seconds=passed)
        for event in self._detector.update(now, cores=cores, memory=self._second[-1].memory):
            self._tell(event)
        self._second.clear()
        self._seconds += passed

    def _tell(self, event: Event) -> None:
        self._events.append((uuid.uuid4().hex, event))

    async def _publish_events(self) -> None:
        # One after the other, so that they arrive in the order in which things happened.
        while self._events:
            id, event = self._events[0]
            await self._publish("broadcast:host.events", event, id=id)
            self._events.popleft()

    def _note(self, results: list[object]) -> None:
        """Log the start and the end of an outage, once each; raise any other exception."""
        outage = None
        for result in results:
            if isinstance(result, realtime.errors.Unavailable):
                outage = result
            elif isinstance(result, BaseException):
                raise result
        if outage and not self._outage:
            logger.warning("The feed cannot publish and keeps trying: %s", outage)
        elif self._outage and not outage:
            logger.info("The feed publishes again.")
        self._outage = outage is not None


def _samples_by_topic(sample: Sample) -> list[tuple[str, float]]:
    return [
        ("stats:host.cpu", sample.cpu),
        ("stats:host.load", sample.load),
        ("stats:host.memory", sample.memory),
        ("stats:host.network", sample.network),
        ("stats:host.disk", sample.disk),
        *((f"stats:host.cpu.{number}", value) for number, value in enumerate(sample.cores)),
    ]


def _describe_host() -> Event:
    """What everybody may know about this machine; its name is not among it."""
    cores = psutil.cpu_count() or 1
    memory = psutil.virtual_memory().total
    system = f"{platform.system()} {platform.machine()}"
    text = f"Feed started: {cores} cores, {memory / 2**30:.1f} GiB of memory, {system}"
    return {
        "kind": "feed_started",
        "text": text,
        "cores": cores,
        "memory_bytes": memory,
        "platform": system,
    }
