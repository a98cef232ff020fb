"""What was handed on last: one run for each topic, bounded, never with a hole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.core import recent as module
from realtime.core.recent import Recent


@pytest.fixture(autouse=True)
def _(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies alone are counted, which makes the sums of these tests plain."""
    monkeypatch.setattr(module, "ENTRY_BYTES", 0)


def entries(first: int, count: int, size: int = 4) -> list[tuple[bytes, bytes]]:
    return [(b"%0*d" % (size, n), b"link") for n in range(first, first + count)]


def add(recent: Recent, first: int, count: int, *, topic: str = "a", **options: object) -> None:
    size = int(str(options.get("size", 4)))
    recent.add(topic, epoch="e", first=first, entries=entries(first, count, size), now=1.0)


def read(recent: Recent, after: int, *, topic: str = "a", limit: int = 100) -> list[int] | None:
    found = recent.read(topic, epoch="e", after=after, limit=limit, max_bytes=1000, since=0.0)
    return None if found is None else [int(body) for body, _ in found]


def test_it_answers_after_any_offset_of_its_run_and_none_before() -> None:
    recent = Recent(max_bytes=1000)
    assert read(recent, 0) is None
    add(recent, 5, 3)
    add(recent, 8, 1)
    assert read(recent, 3) is None
    assert read(recent, 4) == [5, 6, 7, 8]
    assert read(recent, 6) == [7, 8]
    assert read(recent, 6, limit=1) == [7]
    assert read(recent, 8) == []
    assert read(recent, 9) is None


def test_a_jump_or_another_epoch_begins_a_new_run() -> None:
    recent = Recent(max_bytes=1000)
    add(recent, 1, 3)
    add(recent, 9, 1)
    assert (read(recent, 0), read(recent, 8)) == (None, [9])
    recent.add("a", epoch="f", first=10, entries=entries(10, 1), now=1.0)
    assert (read(recent, 8), recent.bytes) == (None, 4)


def test_what_is_older_than_asked_for_counts_for_nothing() -> None:
    recent = Recent(max_bytes=1000)
    add(recent, 1, 3)
    arguments = {"epoch": "e", "after": 0, "limit": 9, "max_bytes": 99}
    assert recent.read("a", since=1.0, **arguments)  # type: ignore[arg-type]
    assert recent.read("a", since=1.1, **arguments) is None  # type: ignore[arg-type]


def test_a_page_ends_with_the_publication_that_fills_it() -> None:
    recent = Recent(max_bytes=1000)
    add(recent, 1, 9, size=10)
    found = recent.read("a", epoch="e", after=2, limit=9, max_bytes=25, since=0)
    assert found == entries(3, 3, 10)


@pytest.mark.parametrize(
    ("first", "count", "whole"),
    [(1, 9, True), (1, 12, True), (5, 5, True), (1, 8, False), (10, 3, False), (12, 1, False)],
)
def test_older_ones_are_taken_only_right_before_the_run(
    first: int, count: int, whole: bool
) -> None:
    recent = Recent(max_bytes=1000)
    add(recent, 10, 3)
    recent.extend_back("a", epoch="e", first=first, entries=entries(first, count))
    expected = list(range(first, 13)) if whole else None
    assert read(recent, first - 1) == (expected if first < 10 else list(range(first, 13)))
    assert recent.bytes == 4 * len(read(recent, first - 1 if whole else 9) or [])


def test_older_ones_of_a_topic_without_a_run_are_not_kept() -> None:
    recent = Recent(max_bytes=1000)
    recent.extend_back("a", epoch="e", first=1, entries=entries(1, 3))
    assert recent.bytes == 0


def test_each_topic_is_bounded_in_publications_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 5)
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    recent = Recent(max_bytes=1000)
    add(recent, 1, 9)
    assert (read(recent, 3), read(recent, 4)) == (None, [5, 6, 7, 8, 9])
    add(recent, 10, 3, size=45)
    assert read(recent, 10) == [11, 12]
    recent.extend_back("a", epoch="e", first=1, entries=entries(1, 10))
    assert recent.bytes <= 100
    add(recent, 13, 1, size=500)
    assert (read(recent, 12), recent.bytes) == ([13], 500)


def test_the_topic_that_was_quiet_longest_goes_first() -> None:
    recent = Recent(max_bytes=100)
    for topic in "abc":
        add(recent, 1, 1, topic=topic, size=30)
    assert read(recent, 0, topic="a") == [1]
    add(recent, 1, 1, topic="d", size=30)
    assert [topic for topic in "abcd" if read(recent, 0, topic=topic)] == ["a", "c", "d"]
    assert recent.bytes == 90
    recent.forget("a")
    recent.forget("a")
    assert recent.bytes == 60


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.booleans(), st.integers(1, 60)),
        max_size=60,
    )
)
def test_bytes_are_counted_exactly_and_stay_within_bounds(
    steps: list[tuple[str, int, bool, int]],
) -> None:
    recent = Recent(max_bytes=200)
    tops = dict.fromkeys("abc", 0)
    for topic, count, jumps, size in steps:
        first = tops[topic] + 1 + 10 * jumps
        add(recent, first, count, topic=topic, size=size)
        tops[topic] = first + count - 1
        runs = recent._runs.values()
        assert recent.bytes == sum(run.bytes for run in runs)
        assert all(run.bytes == sum(len(body) for body, _ in run._entries) for run in runs)
        assert recent.bytes <= 200 or len(recent._runs) == 1


def test_small_publications_count_as_what_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENTRY_BYTES", 150)
    recent = Recent(max_bytes=10_000)
    for topic in "abc":
        add(recent, 1, 30, topic=topic)
    assert [read(recent, 0, topic=topic) is None for topic in "abc"] == [True, False, False]
    assert recent.bytes == 2 * 30 * (4 + 150)
