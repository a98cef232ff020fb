"""A topic's order: each offset once, in order, and the rest is named."""

from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from realtime.core.positions import MARK_BYTES, MAX_HELD, Position, Sequence, fits, link_batch


def take(sequence: Sequence[Any], *, first: int, items: Iterable[Any]) -> list[tuple[int, Any]]:
    """Accept items without links, as from a history that never goes back."""
    items = list(items)
    ready = sequence.accept(first=first, items=items, links=[b""] * len(items))
    return [(offset, item) for offset, item, _ in ready]


def fill(sequence: Sequence[int], *, top: int, page: int) -> list[tuple[int, int]]:
    """Read what is missing page by page, as a held topic does."""
    out = []
    while sequence.has_jump:
        announced = sequence.announced
        start = sequence.offset + 1
        end = min(top, start + page - 1)
        got = take(sequence, first=start, items=range(start, end + 1))
        sequence.settle(announced=announced, top=top)
        assert got, "a read of what comes next has to bring something"
        out += got
    return out


@given(
    st.integers(1, 60),
    st.data(),
)
def test_each_offset_comes_out_once_and_in_order_whatever_the_layer_does(
    top: int, data: st.DataObject
) -> None:
    """Batches are duplicated, reordered, lost, or carried without their bodies."""
    batches = []
    offset = 1
    while offset <= top:
        size = min(data.draw(st.integers(1, 5)), top - offset + 1)
        batches.append((offset, size))
        offset += size
    arrivals = data.draw(st.lists(st.sampled_from(batches), max_size=3 * len(batches)))
    sequence: Sequence[int] = Sequence(epoch="e", offset=0)
    out: list[tuple[int, int]] = []
    for first, size in arrivals:
        carried = [
            None if data.draw(st.integers(0, 9)) == 0 else number
            for number in range(first, first + size)
        ]
        out += take(sequence, first=first, items=carried)
        assert len(out) == sequence.offset
        if sequence.has_jump and data.draw(st.booleans()):
            out += fill(sequence, top=top, page=data.draw(st.integers(1, 70)))
            assert not sequence.has_jump
    # At last the check of tops asks the history for everything.
    take(sequence, first=top, items=[None])
    out += fill(sequence, top=top, page=7)
    assert out == [(number, number) for number in range(1, top + 1)]
    assert sequence.position == Position("e", top)


def test_what_comes_early_waits_for_what_lies_before_it() -> None:
    sequence: Sequence[str] = Sequence(epoch="e", offset=4)
    assert take(sequence, first=7, items=["g"]) == []
    assert (sequence.has_jump, sequence.announced) == (True, 7)
    assert take(sequence, first=5, items=["e"]) == [(5, "e")]
    assert sequence.has_jump
    assert take(sequence, first=6, items=["f"]) == [(6, "f"), (7, "g")]
    assert not sequence.has_jump


def test_an_item_that_was_not_carried_is_a_jump() -> None:
    sequence: Sequence[str] = Sequence(epoch="e", offset=0)
    assert take(sequence, first=1, items=["a", None, "c"]) == [(1, "a")]
    assert sequence.has_jump
    assert take(sequence, first=2, items=["b"]) == [(2, "b"), (3, "c")]


def test_the_history_settles_what_exists() -> None:
    sequence: Sequence[str] = Sequence(epoch="e", offset=0)
    take(sequence, first=9, items=[None])
    sequence.settle(announced=9, top=0)
    assert not sequence.has_jump


def test_what_was_announced_after_the_question_still_counts() -> None:
    sequence: Sequence[str] = Sequence(epoch="e", offset=0)
    take(sequence, first=1, items=[None])
    asked = sequence.announced
    take(sequence, first=2, items=[None])
    sequence.settle(announced=asked, top=0)
    assert sequence.announced == 2


def test_settling_never_goes_below_what_was_let_through() -> None:
    sequence: Sequence[str] = Sequence(epoch="e", offset=5)
    sequence.settle(announced=5, top=3)
    assert (sequence.offset, sequence.announced) == (5, 5)


def test_skipping_gives_up_what_lies_between_and_keeps_what_comes_after() -> None:
    sequence: Sequence[str] = Sequence(epoch="e", offset=0)
    take(sequence, first=3, items=["c", "d"])
    sequence.skip_to(3)
    assert sequence.offset == 3
    assert take(sequence, first=5, items=["e"]) == [(4, "d"), (5, "e")]
    sequence.skip_to(2)
    assert sequence.offset == 5


def test_what_is_held_is_bounded_and_a_full_hold_still_moves_on() -> None:
    """With the hold full of early items, the missing one must still be taken."""
    many = 3 * MAX_HELD

    def arrive_late(sequence: Sequence[int]) -> list[tuple[int, int]]:
        return take(sequence, first=1, items=[1])

    def read(sequence: Sequence[int]) -> list[tuple[int, int]]:
        return take(sequence, first=1, items=range(1, 11))

    closings: list[Callable[[Sequence[int]], list[tuple[int, int]]]] = [arrive_late, read]
    for close in closings:
        sequence: Sequence[int] = Sequence(epoch="e", offset=0)
        assert take(sequence, first=2, items=range(2, many)) == []
        assert close(sequence) == [(n, n) for n in range(1, MAX_HELD + 2)]
        assert (sequence.offset, sequence.announced) == (MAX_HELD + 1, many - 1)
        assert sequence.has_jump


def test_a_batch_in_order_passes_however_long_it_is() -> None:
    sequence: Sequence[int] = Sequence(epoch="e", offset=0)
    assert len(take(sequence, first=1, items=range(5 * MAX_HELD))) == 5 * MAX_HELD


class Timeline:
    """A history as it was written: batches, each with a mark of its own."""

    def __init__(self, name: str, batches: list[tuple[int, bytes, bytes]]) -> None:
        self.name = name
        self.batches = batches  # first offset, link, mark of each publication in it

    @classmethod
    def grow(
        cls, name: str, sizes: list[int], since: "Timeline | None" = None, keep: int = 0
    ) -> "Timeline":
        """Write batches of these sizes, after the first `keep` batches of another timeline."""
        batches = list(since.batches[:keep]) if since else []
        for size in sizes:
            mark = name.encode() + len(batches).to_bytes(MARK_BYTES - 1, "big")
            last = batches[-1][2][-MARK_BYTES:] if batches else bytes(MARK_BYTES)
            first = batches[-1][0] + len(batches[-1][2]) // MARK_BYTES if batches else 1
            batches.append((first, last + mark, mark * size))
        return cls(name, batches)

    @property
    def marks(self) -> list[bytes]:
        """The mark of each offset."""
        text = b"".join(marks for _, _, marks in self.batches)
        return [text[i : i + MARK_BYTES] for i in range(0, len(text), MARK_BYTES)]

    @property
    def top(self) -> int:
        return len(self.marks)

    def read(self, after: int, limit: int) -> tuple[list[bytes], list[bytes]]:
        """A page: its items, which are the marks themselves, and its links."""
        marks = [bytes(MARK_BYTES), *self.marks]
        offsets = range(after + 1, min(self.top, after + limit) + 1)
        return [marks[n] for n in offsets], [marks[n - 1] + marks[n] for n in offsets]


sizes = st.lists(st.integers(1, 4), min_size=1, max_size=12)


@given(sizes, sizes, st.data())
def test_two_histories_are_never_mixed_whatever_the_layer_brings_of_both(
    old_sizes: list[int], new_sizes: list[int], data: st.DataObject
) -> None:
    """An old snapshot came back and was written on: offsets exist twice. What comes out belongs
    to one history, and a reader of the lost one notices before it takes anything of the other."""
    old = Timeline.grow("o", old_sizes)
    keep = data.draw(st.integers(0, len(old_sizes) - 1))
    new = Timeline.grow("n", new_sizes, old, keep)
    out: list[bytes] = []
    sequence: Sequence[bytes] = Sequence(epoch="e", offset=0, mark=bytes(MARK_BYTES))

    def accept(first: int, items: list[bytes], links: list[bytes]) -> None:
        for offset, item, _ in sequence.accept(first=first, items=items, links=links):
            out.append(item)
            assert offset == len(out)

    for timeline in (old, new):
        arrivals = data.draw(st.lists(st.sampled_from(timeline.batches), max_size=20))
        for first, link, marks in arrivals:
            count = len(marks) // MARK_BYTES
            accept(first, [link[MARK_BYTES:]] * count, link_batch(link, count))
        if timeline is old and data.draw(st.booleans()):
            accept(sequence.offset + 1, *old.read(sequence.offset, 100))
    for _ in range(20):  # the history of today fills what is missing
        accept(sequence.offset + 1, *new.read(sequence.offset, data.draw(st.integers(1, 30))))
    assert out in (old.marks[: len(out)], new.marks[: len(out)])
    if not sequence.is_broken and len(out) < new.top:
        raise AssertionError("neither whole nor broken")
    if out == new.marks[: len(out)] and out != old.marks[: len(out)]:
        assert out == new.marks or sequence.is_broken


def test_a_broken_sequence_lets_nothing_more_through() -> None:
    sequence: Sequence[str] = Sequence(epoch="e", offset=4, mark=b"12345678")
    assert sequence.accept(first=5, items=["x"], links=[b"87654321" + b"abcdefgh"]) == []
    assert (sequence.is_broken, sequence.offset) == (True, 4)
    assert sequence.accept(first=5, items=["x"], links=[b"12345678" + b"abcdefgh"]) == []


def test_after_a_skip_the_next_mark_is_taken_as_it_comes() -> None:
    sequence: Sequence[str] = Sequence(epoch="e", offset=4, mark=b"12345678")
    sequence.skip_to(8)
    assert sequence.accept(first=9, items=["x"], links=[b"87654321" + b"abcdefgh"])
    assert sequence.mark == b"abcdefgh"
    assert not sequence.is_broken


def test_a_mark_that_is_not_known_fits_every_other() -> None:
    assert fits(b"", b"a")
    assert fits(b"a", b"")
    assert fits(b"a", b"a")
    assert not fits(b"a", b"b")


def test_the_publications_of_a_batch_share_its_mark() -> None:
    assert link_batch(b"12345678abcdefgh", 3) == [
        b"12345678abcdefgh",
        b"abcdefghabcdefgh",
        b"abcdefghabcdefgh",
    ]
    assert link_batch(b"", 2) == [b"", b""]
