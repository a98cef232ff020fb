"""Statistics as they are now, without a session: computed from the retained publications."""

import time
from collections.abc import Sequence
from typing import Any, Protocol

from realtime.conf import Kind, Namespace
from realtime.core.entries import decode_entry
from realtime.core.errors import NotSupported, Unavailable
from realtime.core.messages import format_time
from realtime.core.sample_ring import SampleRing
from realtime.core.samples import unpack_samples
from realtime.core.topics import Topic
from realtime.core.windows import Window
from realtime.history import Page

READ_LIMIT = 1000
# A snapshot takes no longer than this (s), however large the history and fast its publishers.
SNAPSHOT_SECONDS = 10.0


class ReadPage(Protocol):
    """Reads a page of one topic's history, and waits for it; raises Unavailable."""

    def __call__(self, *, after: int, limit: int) -> Page: ...


def describe_statistics(
    ring: SampleRing,
    topic: Topic,
    *,
    offset: int,
    window: Window,
    fields: Sequence[str],
    time: float | None,
) -> dict[str, Any]:
    """A `stats` message of the samples in a ring; `time` is that of the last publication."""
    return {
        "type": "stats",
        "topic": str(topic),
        "offset": offset,
        "window": window.text,
        **ring.summarise(window, fields),
        "server_time": None if time is None else format_time(time),
    }


def take_snapshot(
    read: ReadPage, topic: Topic, namespace: Namespace, window: Window, fields: Sequence[str]
) -> dict[str, Any]:
    """The `stats` message that a new subscriber would get; raises NotSupported, Unavailable.

    Where no publication is retained, its figures are null and so is its time. It blocks: decoding
    a large history takes many milliseconds, which an event loop does not have.
    """
    if namespace.kind is not Kind.STATS:
        raise NotSupported("only topics of kind stats have statistics")
    deadline = time.monotonic() + SNAPSHOT_SECONDS
    while True:
        message = _try_snapshot(read, topic, window, fields, deadline=deadline)
        if message is not None:
            return message


def _try_snapshot(
    read: ReadPage, topic: Topic, window: Window, fields: Sequence[str], *, deadline: float
) -> dict[str, Any] | None:
    """One attempt; None where a new epoch came in between."""
    ring = SampleRing()
    published = 0.0
    page = read(after=0, limit=1)
    epoch, after = page.epoch, page.first - 1
    if window.samples is not None:  # each publication brought at least one
        after = max(after, page.top - window.samples)
    while True:
        page = read(after=after, limit=READ_LIMIT)
        if page.epoch != epoch or page.top < after:
            return None
        for after, body in enumerate(page.bodies, page.start):
            entry = decode_entry(body)
            ring.append(after, *unpack_samples(entry.data))
            published = entry.time / 1e6
        if after >= page.top or not page.bodies:
            break
        if time.monotonic() > deadline:
            raise Unavailable("the history is too long to be read in time; ask for fewer samples")
    ring.evict_before(page.first)
    return describe_statistics(
        ring,
        topic,
        offset=page.top,
        window=window,
        fields=fields,
        time=published if page.first <= page.top else None,
    )
