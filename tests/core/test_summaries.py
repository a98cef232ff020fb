"""One summary has what every set of fields picks from; figures are numpy's to the last bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.core.summaries import (
    ALWAYS,
    QUANTILES,
    Samples,
    pick,
    predict_seconds,
    summarise,
)
from realtime.core.windows import FIELDS, parse_window

numbers = st.floats(allow_nan=False, allow_infinity=False)


def build(values: list[float], times: list[float] | None = None) -> Samples:
    array = np.array(values, float)
    timestamps = np.arange(len(values), dtype=float) if times is None else np.array(times)
    return Samples(array, timestamps, has_nan=bool(np.isnan(array).any()))


@given(st.lists(numbers, min_size=1, max_size=60), st.sets(st.sampled_from([*QUANTILES])))
def test_quantiles_are_those_of_numpy_to_the_last_bit(values: list[float], names: set[str]) -> None:
    summary = summarise(build(values), parse_window("100"), names)
    with np.errstate(all="ignore"):
        for name in names:
            expected = np.quantile(np.array(values), QUANTILES[name])
            assert summary[name] == (expected if np.isfinite(expected) else None)
    assert summary.keys() == {*ALWAYS, "sum", "var", "first", "rate", "nan_count", *names}


@given(st.lists(numbers | st.just(float("nan")), max_size=30), st.sampled_from(["7", "5s", "1h"]))
def test_scratch_memory_changes_nothing_and_the_samples_stay_as_they_were(
    values: list[float], window: str
) -> None:
    samples, spec = build(values), parse_window(window)
    before = samples.values.copy()
    plain = summarise(samples, spec, QUANTILES)
    scratch = np.full(50, 7.0)
    for _ in range(2):
        assert summarise(samples, spec, QUANTILES, scratch=scratch) == plain
    assert np.array_equal(samples.values, before, equal_nan=True)


def test_a_copy_is_not_what_the_ring_goes_on_to_hold() -> None:
    samples = build([1.0, 2.0, 3.0])
    copy = samples.copy(into=(np.empty(10), np.empty(10)))
    samples.values[:] = 9.0
    assert copy.values.tolist() == [1.0, 2.0, 3.0]
    assert len(copy) == 3


def test_fields_are_picked_in_their_order_behind_what_is_always_there() -> None:
    summary = summarise(build([1.0, 2.0]), parse_window("5"), QUANTILES)
    assert [*pick(summary, ("p99", "sum"))] == [*ALWAYS, "p99", "sum"]
    nothing = summarise(build([]), parse_window("5"), QUANTILES)
    assert pick(nothing, FIELDS) == dict.fromkeys((*ALWAYS, *FIELDS)) | {
        "count": 0,
        "sum": 0.0,
        "nan_count": 0,
    }


@pytest.mark.parametrize("names", [(), ("p99",)])
def test_what_is_predicted_grows_with_the_samples(names: tuple[str, ...]) -> None:
    assert predict_seconds(100_000, names) > predict_seconds(10, names) > 0
