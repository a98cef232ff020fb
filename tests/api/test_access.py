"""A page of a list and the number of all, although rows come and go."""

from typing import Any

import pytest

from realtime.api.access import Slice


class Rows(list[int]):
    """Rows of a table, which has another number of them by the time that they are counted."""

    def __init__(self, there: int, counted: int) -> None:
        super().__init__(range(there))
        self.counted = counted

    def count(self, *_: Any) -> int:
        return self.counted


@pytest.mark.parametrize(
    ("limit", "offset", "there", "counted", "expected"),
    [
        (3, 0, 2, 2, ([0, 1], 2)),
        (3, 0, 2, 4, ([0, 1], 2)),  # more came in between
        (3, 0, 0, 1, ([], 0)),
        (3, 0, 3, 5, ([0, 1, 2], 5)),
        (3, 0, 4, 2, ([0, 1, 2], 3)),  # some went in between
        (3, 3, 5, 5, ([3, 4], 5)),
        (3, 3, 5, 9, ([3, 4], 5)),
        (3, 3, 6, 6, ([3, 4, 5], 6)),
        (3, 3, 7, 1, ([3, 4, 5], 6)),
        (3, 3, 2, 2, ([], 2)),
        (3, 3, 2, 9, ([], 3)),
    ],
)
def test_a_page_and_the_number_of_all_never_contradict_each_other(
    limit: int, offset: int, there: int, counted: int, expected: tuple[list[int], int]
) -> None:
    rows: Any = Rows(there, counted)
    assert Slice(limit, offset).read(rows) == expected
