"""Samples of a stats topic: read from JSON, from an array or from Python, kept as float64."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from realtime.core.errors import InvalidArray, InvalidMessage, MessageTooBig
from realtime.core.messages import convert
from realtime.core.npy import Buffer, read_array
from realtime.core.windows import MAX_SAMPLES

Floats: TypeAlias = npt.NDArray[np.float64]

# The end of the year 9999. What lies beyond is no time in seconds: mostly it is in milliseconds,
# and as the newest timestamp it would leave nothing else in any window of time.
MAX_TIMESTAMP = 253_402_300_799


class _One(msgspec.Struct, forbid_unknown_fields=True):
    value: float | None
    timestamp: float | None = None


class _Many(msgspec.Struct, forbid_unknown_fields=True):
    values: list[float | None]
    timestamps: list[float] | None = None


def parse_samples(data: Any, *, now: float) -> tuple[Floats, Floats]:
    """Read `{"value", "timestamp"?}` or `{"values", "timestamps"?}` as decoded JSON.

    Returns values and timestamps, each float64 of shape (n,); null becomes NaN, an absent
    timestamp `now` (seconds since the epoch). Raises InvalidMessage or MessageTooBig.
    """
    if not isinstance(data, dict):
        raise InvalidMessage('samples are {"value": 3.2} or {"values": [3.2, …]}')
    if "values" in data:
        many = convert(data, _Many)
        return _check(many.values, many.timestamps, now=now)
    one = convert(data, _One)
    return _check([one.value], None if one.timestamp is None else [one.timestamp], now=now)


def read_samples(data: bytes, *, now: float) -> tuple[Floats, Floats]:
    """Read a 1-D numeric `.npy`; raises InvalidArray or MessageTooBig."""
    array = read_array(data)
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise InvalidArray("samples are a one-dimensional array of integers or floats")
    if array.size == 0:
        raise InvalidArray("samples are at least one value")
    size = _bound(array.size)
    values = array.astype(np.float64)
    if np.isinf(values).any():
        raise InvalidArray("samples are finite numbers, or NaN for one that is missing")
    return values, np.full(size, now)


def pack_samples(values: Floats, timestamps: Floats) -> bytes:
    """The bytes that the history keeps: n values, then n timestamps."""
    return values.astype("<f8").tobytes() + timestamps.astype("<f8").tobytes()


def unpack_samples(data: Buffer) -> tuple[Floats, Floats]:
    """Values and timestamps, read-only views of the bytes that `pack_samples` made."""
    both = np.frombuffer(data, "<f8")
    return both[: len(both) // 2], both[len(both) // 2 :]


def describe_samples(data: Buffer) -> dict[str, list[float | None]]:
    """Kept samples as JSON data: `{"values", "timestamps"}`, NaN as null."""
    values, timestamps = unpack_samples(data)
    listed: list[float | None] = values.tolist()
    if np.isnan(values).any():
        listed = [None if value != value else value for value in listed]
    return {"values": listed, "timestamps": timestamps.tolist()}


def _check(
    values: Sequence[float | None], timestamps: Sequence[float] | None, *, now: float
) -> tuple[Floats, Floats]:
    if not values:
        raise InvalidMessage("samples are at least one value - at `$.values`")
    size = _bound(len(values))
    if timestamps is not None and len(timestamps) != size:
        raise InvalidMessage(
            f"{size} values need {size} timestamps, not {len(timestamps)} - at `$.timestamps`"
        )
    array = np.array(values, np.float64)  # None becomes NaN
    times = np.full(size, now) if timestamps is None else np.array(timestamps, np.float64)
    if np.isinf(array).any() or not np.isfinite(times).all():
        raise InvalidMessage("values and timestamps are finite numbers")
    if timestamps is not None and times.max() > MAX_TIMESTAMP:
        raise InvalidMessage("timestamps are in seconds since 1970, not milliseconds")
    return array, times


def _bound(size: int) -> int:
    if size > MAX_SAMPLES:
        raise MessageTooBig(f"at most {MAX_SAMPLES} samples go in one publication")
    return size
