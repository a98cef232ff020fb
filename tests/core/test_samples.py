"""Samples come from JSON or arrays as float64, and are kept bit for bit."""

import io

import numpy as np
import pytest

from realtime.core.errors import InvalidArray, InvalidMessage, MessageTooBig
from realtime.core.samples import (
    describe_samples,
    pack_samples,
    parse_samples,
    read_samples,
    unpack_samples,
)
from realtime.core.windows import MAX_SAMPLES

NOW = 1767225600.5


def save(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "values", "timestamps"),
    [
        ({"value": 3}, [3.0], [NOW]),
        ({"value": -0.5, "timestamp": 12}, [-0.5], [12.0]),
        ({"value": None}, [np.nan], [NOW]),
        ({"value": 1, "timestamp": None}, [1.0], [NOW]),
        ({"value": 2**63}, [2.0**63], [NOW]),
        ({"values": [1, None, 2.5]}, [1, np.nan, 2.5], [NOW] * 3),
        ({"values": [1, 2], "timestamps": [5, 4.5]}, [1, 2], [5, 4.5]),
        ({"values": [1], "timestamps": None}, [1], [NOW]),
    ],
)
def test_json_becomes_values_and_timestamps(data, values, timestamps):
    got = parse_samples(data, now=NOW)
    for array, expected in zip(got, (values, timestamps), strict=True):
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (3, "samples are"),
        ([1, 2], "samples are"),
        (None, "samples are"),
        ({}, "value"),
        ({"value": True}, "$.value"),
        ({"value": "3"}, "$.value"),
        ({"value": [3]}, "$.value"),
        ({"value": 1, "extra": 2}, "extra"),
        ({"value": 1, "timestamps": [1]}, "timestamps"),
        ({"value": 1, "timestamp": "now"}, "$.timestamp"),
        ({"value": 1, "timestamp": False}, "$.timestamp"),
        ({"value": float("inf")}, "finite"),
        ({"value": 1, "timestamp": float("nan")}, "finite"),
        ({"values": []}, "$.values"),
        ({"values": [1, True]}, "$.values[1]"),
        ({"values": 5}, "$.values"),
        ({"values": [1], "value": 1}, "value"),
        ({"values": [1, 2], "timestamps": [1]}, "2 timestamps, not 1"),
        ({"values": [1], "timestamps": []}, "1 timestamps, not 0"),
        ({"values": [1], "timestamps": [None]}, "$.timestamps[0]"),
        ({"values": [1], "timestamps": [float("inf")]}, "finite"),
        ({"values": [-float("inf")]}, "finite"),
        ({"value": 1, "timestamp": 1_790_000_000_000}, "not milliseconds"),
        ({"values": [1, 2], "timestamps": [0, 1e300]}, "not milliseconds"),
    ],
)
def test_other_json_is_refused_and_the_error_says_what_is_wrong(data, text):
    with pytest.raises(InvalidMessage) as caught:
        parse_samples(data, now=NOW)
    assert text in caught.value.detail


@pytest.mark.parametrize("dtype", ["int8", "uint64", "float16", "float32", "float64"])
def test_an_array_of_any_real_dtype_becomes_float64(dtype):
    values, timestamps = read_samples(save(np.array([1, 2, 3], dtype)), now=NOW)
    assert values.dtype == timestamps.dtype == np.float64
    np.testing.assert_array_equal(values, [1, 2, 3])
    np.testing.assert_array_equal(timestamps, [NOW] * 3)


def test_nan_in_an_array_is_a_missing_sample():
    values, _ = read_samples(save(np.array([np.nan, 1])), now=NOW)
    np.testing.assert_array_equal(values, [np.nan, 1])


@pytest.mark.parametrize(
    "array",
    [
        np.float64(3),
        np.zeros((2, 2)),
        np.zeros(0),
        np.array([1j]),
        np.array([True]),
        np.array([1, np.inf]),
        np.array([-np.inf], np.float16),
    ],
)
def test_other_arrays_are_refused(array):
    with pytest.raises(InvalidArray):
        read_samples(save(array), now=NOW)


def test_a_publication_holds_no_more_samples_than_a_topic():
    most = np.zeros(MAX_SAMPLES, np.int8)
    assert len(read_samples(save(most), now=NOW)[0]) == MAX_SAMPLES
    with pytest.raises(MessageTooBig):
        read_samples(save(np.append(most, most[:1])), now=NOW)
    with pytest.raises(MessageTooBig):
        parse_samples({"values": [0] * (MAX_SAMPLES + 1)}, now=NOW)


def test_what_is_packed_comes_back_bit_for_bit():
    values = np.array([1.5, np.nan, -0.0, 5e-324, 1.7e308])
    timestamps = np.array([0.1, 2, 3, -4, 1e300])
    packed = pack_samples(values, timestamps)
    assert len(packed) == 16 * len(values)
    got = unpack_samples(packed)
    assert got[0].tobytes() == values.tobytes()
    assert got[1].tobytes() == timestamps.tobytes()


def test_kept_samples_are_described_with_null_for_what_is_missing():
    packed = pack_samples(np.array([1.0, np.nan]), np.array([10.0, 11.0]))
    assert describe_samples(packed) == {"values": [1.0, None], "timestamps": [10.0, 11.0]}
