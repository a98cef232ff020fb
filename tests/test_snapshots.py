"""Snapshots of a history that changes while it is read."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from realtime import snapshots
from realtime.core.entries import SAMPLES, Entry, encode_entry
from realtime.core.errors import NotSupported, Unavailable
from realtime.core.samples import pack_samples
from realtime.core.topics import Topic
from realtime.core.windows import parse_window
from realtime.history import Page
from realtime.snapshots import take_snapshot
from tests.topics import build_namespace

TOPIC = Topic("stats", "a")
STATS = build_namespace(kind="stats")


def build_body(value: float) -> bytes:
    packed = pack_samples(np.array([value]), np.array([value]))
    return encode_entry(Entry(SAMPLES, None, int(value * 1e6), packed))


def build_page(epoch: str, first: int, top: int, start: int, values: Sequence[float]) -> Page:
    bodies = [build_body(value) for value in values]
    return Page(epoch, first, top, start, bodies, [b""] * len(bodies))


def read_in_turn(*pages: Page) -> Callable[..., Page]:
    left = iter(pages)
    return lambda *, after, limit: next(left)


def take(read: Callable[..., Page], window: str = "1h") -> dict[str, Any]:
    return take_snapshot(read, TOPIC, STATS, parse_window(window), ())


def test_publications_that_are_trimmed_meanwhile_do_not_count() -> None:
    message = take(
        read_in_turn(
            build_page("e", 1, 4, 1, [1]),
            build_page("e", 1, 4, 1, [1, 2]),
            build_page("e", 4, 6, 4, [4, 5, 6]),
        )
    )
    assert (message["offset"], message["count"], message["min"]) == (6, 3, 4.0)
    assert message["server_time"] == "1970-01-01T00:00:06.000000Z"


def test_a_new_epoch_or_a_top_that_went_back_meanwhile_starts_it_again() -> None:
    for changed in (build_page("new", 1, 1, 1, [9]), build_page("e", 1, 1, 2, [])):
        message = take(
            read_in_turn(
                build_page("e", 1, 4, 1, [1]),
                build_page("e", 1, 4, 1, [1, 2]),
                changed,
                build_page("new", 1, 1, 1, [9]),
                build_page("new", 1, 1, 1, [9]),
            )
        )
        assert (message["offset"], message["count"], message["value"]) == (1, 1, 9.0)


def test_of_a_window_of_samples_only_the_last_publications_are_read() -> None:
    asked: list[int] = []

    def read(*, after: int, limit: int) -> Page:
        asked.append(after)
        return build_page("e", 1, 1000, after + 1, range(after + 1, min(after + limit, 1000) + 1))

    assert take(read, "10")["count"] == 10
    assert asked == [0, 990]


def test_publishers_that_are_faster_than_reading_end_it_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "SNAPSHOT_SECONDS", 0.05)

    def read(*, after: int, limit: int) -> Page:
        return build_page("e", 1, after + 10, after + 1, [after + 1])

    with pytest.raises(Unavailable):
        take(read)


def test_other_kinds_have_no_statistics() -> None:
    with pytest.raises(NotSupported):
        take_snapshot(read_in_turn(), TOPIC, build_namespace(), parse_window("1"), ())
