"""Publications a second, from two looks at a topic's top."""

import asyncio
from collections.abc import Sequence

import pytest

from realtime.admin import rates as rates_module
from realtime.admin.rates import Looks, measure_rates
from realtime.core.topics import Topic
from realtime.history import Top

A, B = Topic("broadcast", "a"), Topic("broadcast", "b")


def look(looks: Looks, offset: int, now: float, epoch: str = "e") -> float | None:
    (rate,) = looks.compare([A], [Top(epoch, offset)], now=now)
    return rate


def test_a_rate_is_the_difference_between_two_looks() -> None:
    looks = Looks()
    assert look(looks, 100, now=0) is None
    assert look(looks, 130, now=10) == 3
    assert look(looks, 130, now=20) == 0


def test_looks_that_are_too_near_wait_for_the_earlier_one_to_be_old_enough() -> None:
    looks = Looks()
    look(looks, 100, now=0)
    assert look(looks, 104, now=0.5) is None
    assert look(looks, 110, now=2) == 5


@pytest.mark.parametrize(("offset", "now", "epoch"), [(900, 301, "e"), (900, 10, "other")])
def test_looks_that_are_too_far_apart_or_of_two_epochs_say_nothing(
    offset: int, now: float, epoch: str
) -> None:
    looks = Looks()
    look(looks, 100, now=0)
    assert look(looks, offset, now=now, epoch=epoch) is None
    assert look(looks, offset + 6, now=now + 2, epoch=epoch) == 3


def test_a_top_that_went_back_is_no_negative_rate() -> None:
    looks = Looks()
    look(looks, 100, now=0)
    assert look(looks, 50, now=2) == 0


def test_only_so_many_topics_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates_module, "MAX_TOPICS", 1)
    looks = Looks()
    tops = [Top("e", 0)]
    looks.compare([A], tops, now=0)
    looks.compare([B], tops, now=0)
    assert looks.compare([A], tops, now=5) == [None]


class MovingHistory:
    """One publication on each topic between two reads."""

    def __init__(self) -> None:
        self.reads = 0

    async def read_tops(self, topics: Sequence[Topic]) -> list[Top]:
        self.reads += 1
        return [Top("e", self.reads)] * len(topics)


async def test_where_nobody_looked_lately_it_looks_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates_module, "looks", Looks())
    monkeypatch.setattr(rates_module, "NEAREST", 0.01)
    history = MovingHistory()
    tops, rates = await measure_rates(history, [A, B])  # type: ignore[arg-type]
    assert history.reads == 2
    assert [top.offset for top in tops] == [2, 2]
    assert all(rate is not None and 0 < rate <= 100 for rate in rates)
    await asyncio.sleep(0.02)
    await measure_rates(history, [A, B])  # type: ignore[arg-type]
    assert history.reads == 3
