"""Token buckets."""

import pytest

from realtime.core.buckets import Tally, TokenBucket


def take_all(bucket: TokenBucket, now: float) -> int:
    """How many events the bucket lets through at that moment."""
    count = 0
    while bucket.take(now):
        count += 1
    return count


def test_a_bucket_lets_its_burst_through_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=10, burst=20, now=100.0)
    assert take_all(bucket, 100.0) == 20
    assert take_all(bucket, 100.05) == 0
    assert take_all(bucket, 100.125) == 1
    assert take_all(bucket, 101.125) == 10


def test_a_quiet_bucket_fills_up_to_its_burst_and_no_further() -> None:
    bucket = TokenBucket(rate=10, burst=20, now=0.0)
    take_all(bucket, 0.0)
    assert take_all(bucket, 1e9) == 20


def test_what_is_refused_takes_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=1, now=0.0)
    assert bucket.take(0.0)
    for tenth in range(1, 10):
        assert not bucket.take(tenth / 10)
    assert bucket.take(1.0)


def test_the_wait_is_the_time_until_one_can_be_taken() -> None:
    bucket = TokenBucket(rate=4, burst=2, now=0.0)
    assert bucket.find_wait(0.0) == 0
    take_all(bucket, 0.0)
    assert bucket.find_wait(0.0) == pytest.approx(0.25)
    assert bucket.find_wait(0.125) == pytest.approx(0.125)
    assert bucket.find_wait(0.25) == 0
    assert bucket.take(0.25)


def test_a_tally_overflows_with_one_more_than_its_most_in_the_time() -> None:
    tally = Tally(3, seconds=60)
    assert [tally.overflows(now) for now in (0, 1, 2)] == [False] * 3
    assert tally.overflows(59)
    assert not tally.overflows(62)  # of those at 1, 2, 59 and 62, the first is too old
    assert tally.overflows(63) is False
    assert tally.overflows(64)
