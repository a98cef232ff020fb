"""Token buckets for many names."""

import pytest

from realtime.core import rates
from realtime.core.rates import Rates


def test_each_name_has_its_own_rate() -> None:
    counted = Rates(1, burst=2)
    assert [counted.take("a", 0) for _ in range(3)] == [True, True, False]
    assert counted.take("b", 0)
    assert counted.find_wait("a", 0) == 1
    assert counted.find_wait("new", 0) == 0
    assert counted.take("a", 1)


def test_a_rate_of_zero_lifts_the_limit() -> None:
    counted = Rates(0, burst=0)
    assert all(counted.take("a", 0) for _ in range(100))
    counted.spend("a", 0, most_debt=10)
    assert counted.find_wait("a", 0) == 0


def test_the_names_that_are_told_apart_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_NAMES", 3)
    counted = Rates(1, burst=1)
    for number in range(100):
        assert counted.take(str(number), 0)
    assert [counted.take(str(number), 0) for number in (97, 98, 99)] == [False] * 3
    assert counted.take("96", 0)  # forgotten, so it begins anew
