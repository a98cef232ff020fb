"""A topic's order: each offset once, in order, and the rest is named."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from realtime.core.positions import MAX_HELD, Position, Sequence


def fill(sequence: Sequence[int], *, top: int, page: int) -> list[tuple[int, int]]:
    """Read what is missing page by page, as a held topic does."""
    out = []
    while sequence.has_jump:
        announced = sequence.announced
        start = sequence.offset + 1
        end = min(top, start + page - 1)
        got = sequence.accept(first=start, items=range(start, end + 1))
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
        out += sequence.accept(first=first, items=carried)
        assert len(out) == sequence.offset
        if sequence.has_jump and data.draw(st.booleans()):
            out += fill(sequence, top=top, page=data.draw(st.integers(1, 70)))
            assert not sequence.has_jump
    # At last the check of tops asks the history for everything.
    sequence.accept(first=top, items=[None])
    out += fill(sequence, top=top, page=7)
    assert out == [(number, number) for number in range(1, top + 1)]
    assert sequence.position == Position("e", top)


def test_what_comes_early_waits_for_what_lies_before_it() -> None:
    sequence: Sequence[str] = Sequence(epoch="e", offset=4)
    assert sequence.accept(first=7, items=["g"]) == []
    assert (sequence.has_jump, sequence.announced) == (True, 7)
    assert sequence.accept(first=5, items=["e"]) == [(5, "e")]
    assert sequence.has_jump
    assert sequence.accept(first=6, items=["f"]) == [(6, "f"), (7, "g")]
    assert not sequence.has_jump


def test_an_item_that_was_not_carried_is_a_jump() -> None:
    sequence: Sequence[str] = Sequence(epoch="e", offset=0)
    assert sequence.accept(first=1, items=["a", None, "c"]) == [(1, "a")]
    assert sequence.has_jump
    assert sequence.accept(first=2, items=["b"]) == [(2, "b"), (3, "c")]


def test_the_history_settles_what_exists() -> None:
    sequence: Sequence[str] = Sequence(epoch="e", offset=0)
    sequence.accept(first=9, items=[None])
    sequence.settle(announced=9, top=0)
    assert not sequence.has_jump


def test_what_was_announced_after_the_question_still_counts() -> None:
    sequence: Sequence[str] = Sequence(epoch="e", offset=0)
    sequence.accept(first=1, items=[None])
    asked = sequence.announced
    sequence.accept(first=2, items=[None])
    sequence.settle(announced=asked, top=0)
    assert sequence.announced == 2


def test_settling_never_goes_below_what_was_let_through() -> None:
    sequence: Sequence[str] = Sequence(epoch="e", offset=5)
    sequence.settle(announced=5, top=3)
    assert (sequence.offset, sequence.announced) == (5, 5)


def test_skipping_gives_up_what_lies_between_and_keeps_what_comes_after() -> None:
    sequence: Sequence[str] = Sequence(epoch="e", offset=0)
    sequence.accept(first=3, items=["c", "d"])
    sequence.skip_to(3)
    assert sequence.offset == 3
    assert sequence.accept(first=5, items=["e"]) == [(4, "d"), (5, "e")]
    sequence.skip_to(2)
    assert sequence.offset == 5


def test_what_is_held_is_bounded_and_a_full_hold_still_moves_on() -> None:
    """With the hold full of early items, the missing one must still be taken."""
    many = 3 * MAX_HELD

    def arrive_late(sequence: Sequence[int]) -> list[tuple[int, int]]:
        return sequence.accept(first=1, items=[1])

    def read(sequence: Sequence[int]) -> list[tuple[int, int]]:
        return sequence.accept(first=1, items=range(1, 11))

    closings: list[Callable[[Sequence[int]], list[tuple[int, int]]]] = [arrive_late, read]
    for close in closings:
        sequence: Sequence[int] = Sequence(epoch="e", offset=0)
        assert sequence.accept(first=2, items=range(2, many)) == []
        assert close(sequence) == [(n, n) for n in range(1, MAX_HELD + 2)]
        assert (sequence.offset, sequence.announced) == (MAX_HELD + 1, many - 1)
        assert sequence.has_jump


def test_a_batch_in_order_passes_however_long_it_is() -> None:
    sequence: Sequence[int] = Sequence(epoch="e", offset=0)
    assert len(sequence.accept(first=1, items=range(5 * MAX_HELD))) == 5 * MAX_HELD
