"""A ring says about its windows what plain numpy says about the same samples."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.core.sample_ring import SampleRing
from realtime.core.windows import FIELDS, MAX_SAMPLES, Window

quick = settings(derandomize=True, database=None)
BASIC = ("value", "count", "mean", "std", "min", "max")


# The oracle: a list of samples, and numpy's own functions on it.


class SampleList:
    """What a SampleRing retains, as a list of (offset, value, timestamp)."""

    def __init__(self, capacity):
        self.capacity = capacity
        self.samples = []

    def append(self, offset, values, timestamps):
        self.samples += [(offset, *pair) for pair in zip(values, timestamps, strict=True)]
        self.samples = self.samples[-self.capacity :]

    def evict_before(self, offset):
        self.samples = [sample for sample in self.samples if sample[0] >= offset]

    def clear(self):
        self.samples = []

    def summarise(self, window, fields):
        if window.samples is not None:
            inside = self.samples[-window.samples :]
        else:
            newest = max((time for _, _, time in self.samples), default=None)
            inside = [sample for sample in self.samples if newest - sample[2] < window.seconds]
        pairs = [(value, time) for _, value, time in inside if not math.isnan(value)]
        if window.seconds is not None:
            pairs.sort(key=lambda pair: pair[1])  # stable: ties stay in order of arrival
        numbers = np.array([value for value, _ in pairs])
        nothing = dict.fromkeys((*BASIC, *FIELDS))
        answer = nothing | {"count": len(pairs), "sum": 0.0, "nan_count": len(inside) - len(pairs)}
        if pairs:
            (first, start), (last, end) = pairs[0], pairs[-1]
            with np.errstate(all="ignore"):
                answer |= {"value": last, "first": first, "sum": np.sum(numbers)}
                answer |= {"mean": np.mean(numbers), "std": np.std(numbers), "var": np.var(numbers)}
                answer |= {"min": np.min(numbers), "max": np.max(numbers)}
                for name, q in [("median", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)]:
                    answer[name] = np.quantile(numbers, q)
            if len(pairs) > 1 and end > start:
                answer["rate"] = (len(pairs) - 1) / (end - start)
        return {
            name: answer[name] if answer[name] is not None and np.isfinite(answer[name]) else None
            for name in (*BASIC, *fields)
        }


def assert_like(got, expected, scale):
    """Equal keys in equal order, equal None and integers; floats as near as summing allows.

    The oracle sums a time window by timestamp, the ring by arrival: the last bits differ.
    """
    assert list(got) == list(expected)
    for name, number in expected.items():
        assert type(got[name]) in (
            (int,) if name in ("count", "nan_count") else (float, type(None))
        )
        if number is None or name not in ("mean", "std", "sum", "var"):
            assert got[name] == number, name
        else:
            error = 1e-12 * scale * (scale if name == "var" else 1)
            assert got[name] == pytest.approx(number, rel=1e-9, abs=error), name


def check(ring, oracle, window, fields=FIELDS):
    retained = [abs(value) for _, value, _ in oracle.samples if not math.isnan(value)]
    assert len(ring) == len(oracle.samples)
    assert_like(
        ring.summarise(window, fields),
        oracle.summarise(window, fields),
        scale=max(retained, default=0.0),
    )


VALUES = st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float) | st.just(math.nan)
TIMES = st.integers(0, 40).map(lambda tick: 1.7e9 + tick / 4)  # ties, and late ones, are common
PUBLICATIONS = st.lists(st.tuples(VALUES, TIMES), max_size=8)
WINDOWS = st.one_of(
    st.integers(1, 30).map(lambda samples: Window(samples, None, f"{samples}")),
    st.sampled_from([0.25, 0.3, 1.0, 2.5, 5.0, 60.0]).map(lambda s: Window(None, s, f"{s}s")),
)
FIELD_SETS = st.sets(st.sampled_from(FIELDS)).map(lambda names: [f for f in FIELDS if f in names])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3), PUBLICATIONS),
        st.tuples(st.just("append"), st.integers(1, 3), PUBLICATIONS),
        st.tuples(st.just("evict"), st.integers(-1, 6)),
        st.tuples(st.just("clear")),
    ),
    max_size=25,
)


@settings(quick, max_examples=300)
@given(STEPS, st.integers(1, 20), WINDOWS, FIELD_SETS)
def test_any_history_of_a_ring_gives_what_numpy_gives(steps, capacity, window, fields):
    ring, oracle, offset = SampleRing(capacity), SampleList(capacity), 0
    for kind, *arguments in steps:
        if kind == "append":
            step, samples = arguments
            offset += step
            values, times = np.array(samples, float).reshape(-1, 2).T
            ring.append(offset, values, times)
            oracle.append(offset, values.tolist(), times.tolist())
        elif kind == "evict":
            ring.evict_before(max(offset - arguments[0], 0))
            oracle.evict_before(max(offset - arguments[0], 0))
        else:
            offset = 0
            ring.clear()
            oracle.clear()
        assert ring.last_offset == offset
        check(ring, oracle, window, fields)


@settings(quick, max_examples=50)
@given(
    st.lists(st.floats(allow_infinity=False), min_size=1, max_size=12),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=12, max_size=12),
    WINDOWS,
)
def test_huge_and_tiny_numbers_overflow_to_none_and_never_warn(values, times, window):
    ring = SampleRing()
    ring.append(1, np.array(values), np.array(times[: len(values)]))
    summary = ring.summarise(window, FIELDS)
    assert list(summary) == [*BASIC, *FIELDS]
    assert all(number is None or math.isfinite(number) for number in summary.values())


def test_what_overflows_is_none_and_the_rest_is_right():
    ring = SampleRing()
    ring.append(1, np.array([1e308, 1e308, -1e308, 1e308]), np.arange(4.0))
    summary = ring.summarise(Window(4, None, "4"), ("var", "first"))
    assert (summary["value"], summary["min"], summary["max"]) == (1e308, -1e308, 1e308)
    assert summary["var"] is summary["std"] is None
    ring.append(2, np.full(10, 1e308), np.arange(10.0))
    summary = ring.summarise(Window(10, None, "10"), ("sum", "median"))
    assert summary["mean"] is summary["sum"] is None
    assert summary["median"] == 1e308


@pytest.mark.parametrize("window", [Window(1000, None, "1000"), Window(None, 10.0, "10s")])
def test_variance_is_right_at_mean_1e9_and_sigma_1(window):
    random = np.random.default_rng(7)
    values, times = 1e9 + random.normal(size=5000), 1.7e9 + np.arange(5000) / 100
    ring = SampleRing(3000)
    for offset in range(1, 501):
        part = slice(10 * (offset - 1), 10 * offset)
        ring.append(offset, values[part], times[part])
    summary = ring.summarise(window, FIELDS)
    exact = values[-1000:] - 1e9
    assert summary["count"] == 1000
    assert summary["mean"] - 1e9 == pytest.approx(exact.mean(), abs=1e-6)
    assert summary["std"] == pytest.approx(exact.std(), rel=1e-7)
    assert summary["var"] == pytest.approx(exact.var(), rel=1e-7)
    assert summary["p99"] == np.quantile(values[-1000:], 0.99)
    assert summary["rate"] == pytest.approx(999 / 9.99)


def test_sample_windows_agree_with_numpy_to_the_last_bit():
    values = np.random.default_rng(3).normal(1e9, 1, 1234)
    ring = SampleRing()
    ring.append(1, values, np.zeros(1234))
    summary = ring.summarise(Window(MAX_SAMPLES, None, ""), FIELDS)
    functions = {"sum": np.sum, "mean": np.mean, "std": np.std, "var": np.var, "median": np.median}
    assert {name: summary[name] for name in functions} == {
        name: function(values) for name, function in functions.items()
    }


def fill(*samples):
    ring = SampleRing()
    for offset, (value, time) in enumerate(samples, 1):
        ring.append(offset, np.array([value], float), np.array([time], float))
    return ring


def test_an_empty_ring_has_a_count_of_zero_and_a_sum_of_zero():
    for window in (Window(5, None, "5"), Window(None, 5.0, "5s")):
        summary = SampleRing().summarise(window, FIELDS)
        known = {name: number for name, number in summary.items() if number is not None}
        assert known == {"count": 0, "sum": 0.0, "nan_count": 0}
        assert list(SampleRing().summarise(window, ())) == list(BASIC)


def test_a_window_of_nan_only_counts_them():
    summary = fill((1, 0), (math.nan, 1), (math.nan, 2)).summarise(Window(2, None, "2"), FIELDS)
    known = {name: number for name, number in summary.items() if number is not None}
    assert known == {"count": 0, "sum": 0.0, "nan_count": 2}


def test_nan_takes_a_place_in_a_sample_window_and_is_never_the_value():
    ring = fill((1, 0), (2, 1), (3, 2), (math.nan, 3))
    summary = ring.summarise(Window(3, None, "3"), ("first", "nan_count"))
    assert (summary["value"], summary["first"], summary["count"]) == (3, 2, 2)
    assert summary["nan_count"] == 1


def test_a_nan_that_has_left_the_ring_is_counted_no_more():
    ring = fill((math.nan, 0), (2, 1), (3, 2))
    assert ring.summarise(Window(9, None, "9"), ("nan_count",))["nan_count"] == 1
    ring.evict_before(2)
    assert ring.summarise(Window(9, None, "9"), ("nan_count",))["nan_count"] == 0
    assert ring.summarise(Window(9, None, "9"), ())["mean"] == 2.5
    assert ring._nans == 0  # and costs nothing any more


def test_a_time_window_is_open_at_its_old_end_and_closed_at_its_new_one():
    ring = fill((1, 90), (2, 90.5), (3, 100))
    summary = ring.summarise(Window(None, 10.0, "10s"), ("first",))
    assert (summary["count"], summary["first"], summary["value"]) == (2, 2, 3)


def test_a_nan_with_the_newest_timestamp_moves_a_time_window():
    ring = fill((1, 0), (2, 50), (math.nan, 60))
    summary = ring.summarise(Window(None, 20.0, "20s"), ("nan_count",))
    assert (summary["count"], summary["value"], summary["nan_count"]) == (1, 2, 1)


def test_late_samples_count_in_a_time_window_but_are_not_its_value():
    ring = fill((1, 100), (2, 110), (3, 105), (4, 80))
    by_time = ring.summarise(Window(None, 20.0, "20s"), ("first", "rate"))
    assert (by_time["value"], by_time["first"], by_time["count"]) == (2, 1, 3)
    assert by_time["rate"] == 2 / 10
    by_arrival = ring.summarise(Window(3, None, "3"), ("first", "rate"))
    assert (by_arrival["value"], by_arrival["first"]) == (4, 2)
    assert by_arrival["rate"] is None  # the last to arrive is older than the first


def test_among_equal_timestamps_value_is_the_last_and_first_the_first_to_arrive():
    ring = fill((1, 5), (2, 5), (3, 9), (4, 9), (5, 7))
    summary = ring.summarise(Window(None, 60.0, "1m"), ("first",))
    assert (summary["first"], summary["value"]) == (1, 4)


def test_a_time_window_below_the_resolution_of_its_timestamps_still_has_the_newest_sample():
    ring = fill((1, 1.7e9), (2, 1.7e9 + 1))
    summary = ring.summarise(Window(None, 1e-9, ""), ("rate",))
    assert (summary["value"], summary["count"], summary["rate"]) == (2, 1, None)


def test_eviction_takes_whole_publications_and_leaves_the_last_offset():
    ring = SampleRing()
    for offset in (3, 5, 9):
        ring.append(offset, np.full(4, float(offset)), np.zeros(4))
    ring.evict_before(5)
    assert (len(ring), ring.last_offset) == (8, 9)
    ring.evict_before(6)
    assert len(ring) == 4
    ring.evict_before(100)
    assert (len(ring), ring.last_offset) == (0, 9)
    ring.append(10, np.ones(1), np.zeros(1))
    assert ring.summarise(Window(5, None, "5"), ())["count"] == 1


def test_a_publication_longer_than_the_ring_leaves_its_newest_samples():
    ring = SampleRing(4)
    ring.append(1, np.arange(3.0), np.arange(3.0))
    ring.append(2, np.arange(10.0), np.arange(10.0))
    summary = ring.summarise(Window(100, None, "100"), ("first",))
    assert (summary["count"], summary["first"], summary["value"]) == (4, 6, 9)


def test_a_publication_of_no_samples_only_moves_the_last_offset():
    ring = fill((1, 0))
    ring.append(7, np.empty(0), np.empty(0))
    assert (len(ring), ring.last_offset) == (1, 7)


def test_a_full_ring_stays_within_twice_its_capacity_and_keeps_the_newest():
    ring, oracle = SampleRing(100), SampleList(100)
    random = np.random.default_rng(11)
    for offset in range(1, 400):
        size = int(random.integers(1, 9))
        values, times = random.normal(size=size), offset + random.random(size)
        ring.append(offset, values, times)
        oracle.append(offset, values.tolist(), times.tolist())
        assert len(ring._values) == len(ring._offsets) <= 200
        if not offset % 40:
            check(ring, oracle, Window(100, None, "100"))
            check(ring, oracle, Window(None, 5.0, "5s"))
            ring.evict_before(offset - 10)
            oracle.evict_before(offset - 10)
            check(ring, oracle, Window(100, None, "100"))
    assert len(ring) == 100


def test_a_ring_refuses_an_offset_that_does_not_rise_and_arrays_that_do_not_match():
    ring = fill((1, 0), (2, 1))
    for offset in (1, 2):
        with pytest.raises(ValueError, match="comes after"):
            ring.append(offset, np.ones(1), np.ones(1))
    for values, times in [(np.ones(3), np.ones(1)), (np.ones((2, 2)), np.ones((2, 2)))]:
        with pytest.raises(ValueError, match="shapes"):
            ring.append(3, values, times)
    assert (len(ring), ring.last_offset) == (2, 2)


def test_a_cleared_ring_starts_again():
    ring = fill((math.nan, 0), (2, 1))
    ring.clear()
    assert (len(ring), ring.last_offset) == (0, 0)
    ring.append(1, np.array([5.0]), np.array([0.0]))
    summary = ring.summarise(Window(9, None, "9"), ("nan_count",))
    assert (summary["mean"], summary["nan_count"], ring._nans) == (5.0, 0, 0)
