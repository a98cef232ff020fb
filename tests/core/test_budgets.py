"""How many events each source may cause, and all together."""

from realtime.core.budgets import Budgets
from realtime.core.rates import MAX_NAMES


def take(budgets: Budgets, source: str, count: int, now: float = 0.0) -> int:
    """How many of so many events are let through."""
    return sum(budgets.take(source, now) for _ in range(count))


def test_each_source_has_a_sixth_of_an_hour_at_once_and_then_its_rate() -> None:
    budgets = Budgets(each=600, in_all=0, now=0.0)
    assert take(budgets, "a", 150) == 100
    assert take(budgets, "b", 5) == 5
    assert take(budgets, "a", 50, now=60.0) == 10
    assert budgets.take_refused(most=9) == ([("a", 90)], 0)
    assert budgets.take_refused(most=9) == ([], 0)


def test_all_together_are_bounded_too() -> None:
    budgets = Budgets(each=600, in_all=1200, now=0.0)
    assert sum(take(budgets, f"s{n}", 100) for n in range(5)) == 200
    assert budgets.take_refused(most=2) == ([("s2", 100), ("s3", 100)], 100)


def test_0_lifts_a_limit() -> None:
    assert take(Budgets(each=0, in_all=6, now=0.0), "a", 10) == 1
    assert take(Budgets(each=0, in_all=0, now=0.0), "a", 10_000) == 10_000


def test_sources_are_bounded_and_what_is_refused_is_counted_all_the_same() -> None:
    budgets = Budgets(each=6, in_all=0, now=0.0)
    for number in range(MAX_NAMES + 10):
        take(budgets, f"s{number}", 2)
    largest, others = budgets.take_refused(most=3)
    assert ([count for _, count in largest], others) == ([1, 1, 1], MAX_NAMES + 7)
