"""What is waited for, and what is not."""

import pytest

from realtime.limits import Pace

RATE = 1000


def build(seconds: float = 30.0) -> Pace:
    return Pace(seconds=seconds, rate=RATE, now=0.0)


def find_end(pace: Pace, sizes: dict[float, int]) -> float | None:
    """The first second in which it is too late, where so much has come by then."""
    size = 0
    for second in range(1, 1000):
        size = sizes.get(second, size)
        if pace.find_left(size, float(second)) <= 0:
            return second
    return None


def test_silence_is_waited_for_as_long_as_it_says() -> None:
    assert find_end(build(), {}) == 30


@pytest.mark.parametrize("every", [1, 8, 29])
def test_a_byte_now_and_then_buys_next_to_nothing(every: int) -> None:
    sizes = {second: second for second in range(0, 1000, every)}
    assert find_end(build(), sizes) in (30, 31)


def test_much_at_first_buys_no_longer_silence_afterwards() -> None:
    assert find_end(build(), {1: 15_000_000}) == 30


def test_the_least_rate_is_waited_for_without_end() -> None:
    assert find_end(build(), {second: RATE * second for second in range(1000)}) is None


def test_half_the_least_rate_gets_twice_the_time() -> None:
    assert find_end(build(), {second: RATE * second // 2 for second in range(1000)}) in (59, 60)


def test_time_that_is_not_the_senders_does_not_count() -> None:
    pace = build()
    assert pace.find_left(0, 20.0) == 10
    pace.skip(500.0)
    assert pace.find_left(0, 505.0) == 5
    pace.forgive(100.0)
    assert pace.find_left(0, 606.0) == 4
