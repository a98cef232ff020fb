"""Excerpts of a history that changes while it is read."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from realtime.conf import build_settings
from realtime.core.entries import JSON, NPY, Entry, encode_entry
from realtime.core.messages import BinaryHeader
from realtime.core.npy import write_array
from realtime.core.topics import Topic
from realtime.encoding import LivePublication
from realtime.excerpts import Excerpt, read_excerpt
from realtime.history import HEAD_BYTES, Batch, Item, Page
from realtime.history.memory import MemoryHistory
from tests.topics import TOPIC, build_namespace


def build_page(epoch: str, first: int, top: int, start: int, count: int, size: int = 1) -> Page:
    data = b"1" * size
    bodies = [encode_entry(Entry(JSON, None, 0, data))] * count
    return Page(epoch, first, top, start, bodies, [b""] * count)


class Pages:
    """A history that gives these pages in turn."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self.pages = list(pages)
        self.asked: list[tuple[int, int]] = []

    async def read(self, topic: Any, *, after: int, limit: int) -> Page:
        self.asked.append((after, limit))
        return self.pages.pop(0)


async def read(*pages: Page, after: int = 0, limit: int = 5) -> tuple[Excerpt, Pages]:
    history = Pages(pages)
    excerpt = await read_excerpt(
        history,  # type: ignore[arg-type]
        TOPIC,
        build_namespace(),
        after=after,
        epoch=None,
        limit=limit,
    )
    return excerpt, history


async def test_it_reads_pages_until_it_has_as_many_as_were_asked_for() -> None:
    excerpt, history = await read(
        build_page("e", 1, 9, 2, 2), build_page("e", 1, 10, 4, 3), after=1
    )
    assert history.asked == [(1, 5), (3, 3)]
    assert [one.offset for one in excerpt.publications] == [2, 3, 4, 5, 6]
    assert (excerpt.epoch, excerpt.top, excerpt.complete) == ("e", 10, True)


async def test_it_has_no_hole_where_the_next_page_was_trimmed_meanwhile() -> None:
    excerpt, _ = await read(build_page("e", 1, 9, 1, 2), build_page("e", 5, 12, 5, 3))
    assert [one.offset for one in excerpt.publications] == [1, 2]
    assert (excerpt.top, excerpt.complete) == (9, True)


async def test_it_ends_with_its_epoch() -> None:
    excerpt, _ = await read(build_page("e", 1, 9, 1, 2), build_page("new", 1, 4, 3, 2))
    assert (excerpt.epoch, excerpt.top) == ("e", 9)
    assert [one.offset for one in excerpt.publications] == [1, 2]


async def test_it_asks_no_more_once_it_has_come_to_the_top() -> None:
    excerpt, history = await read(build_page("e", 1, 3, 1, 3))
    assert [one.offset for one in excerpt.publications] == [1, 2, 3]
    assert len(history.asked) == 1


class Heads(MemoryHistory):
    """A history of which only heads are to be read."""

    async def read(self, topic: Any, *, after: int, limit: int) -> Page:
        raise AssertionError("whole bodies were read")

    async def read_heads(self, topic: Any, *, after: int, limit: int) -> Page:
        page = await super().read(topic, after=after, limit=limit)
        return replace(page, bodies=[body[:HEAD_BYTES] for body in page.bodies])


async def test_of_a_binary_topic_only_heads_are_read() -> None:
    topic, namespace = Topic("arrays", "a"), build_namespace(kind="binary")
    array = write_array(np.zeros((300, 1000)))
    history = Heads(build_settings({}))
    entries = [
        Entry(NPY, "ann", 1_700_000_000_000_000, array),
        Entry("image/png", None, 0, b"x" * 70_000),
        Entry("image/png", "bob", 0, b""),
    ]
    batch = Batch(topic, namespace, [Item(encode_entry(entry)) for entry in entries])
    await history.append([batch])
    excerpt = await read_excerpt(history, topic, namespace, after=0, epoch=None, limit=5)
    assert excerpt.publications == [
        LivePublication(topic, number=number, body=item.body).describe()
        for number, item in enumerate(batch.items, 1)
    ]
    first = excerpt.publications[0]
    assert isinstance(first, BinaryHeader)
    assert (first.shape, first.dtype, first.bytes) == ((300, 1000), "float64", len(array))
    assert first.chunks > 1


async def test_data_that_fits_no_excerpt_is_null_and_comes_alone() -> None:
    excerpt, _ = await read(build_page("e", 1, 2, 1, 2, size=2 * 1024 * 1024))
    (only,) = excerpt.publications
    assert bytes(only.data) == b"null"  # type: ignore[union-attr]
    assert excerpt.top == 2
