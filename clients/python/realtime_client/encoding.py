"""The JSON that leaves: strict, compact, and cut where it would be too long."""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

MOST_SAMPLES = 100_000
# The longest text of a double and its comma, and room for the message around the numbers.
NUMBER_BYTES = 26
ENVELOPE_BYTES = 512


def encode_data(data: Any) -> str:
    """The JSON of a publication's data; raises ValueError or TypeError where it has none."""
    return json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def cut_samples(
    values: Iterable[float | None], timestamps: Iterable[float] | None, *, most_bytes: int
) -> Iterator[str]:
    """The data of as few publications as hold these samples; NaN becomes null.

    Raises ValueError for an infinity, or where there are not as many timestamps as values.
    """
    numbers = [_clean(value) for value in values]
    times = None if timestamps is None else [float(time) for time in timestamps]
    if times is not None and len(times) != len(numbers):
        raise ValueError(f"{len(numbers)} values, but {len(times)} timestamps")
    width = NUMBER_BYTES * (1 if times is None else 2)
    most = max(1, min(MOST_SAMPLES, (most_bytes - ENVELOPE_BYTES) // width))
    for start in range(0, len(numbers), most):
        data: dict[str, Any] = {"values": numbers[start : start + most]}
        if times is not None:
            data["timestamps"] = times[start : start + most]
        yield encode_data(data)


def _clean(value: float | None) -> float | None:
    if value is None:
        return None
    number = float(value)
    if math.isinf(number):
        raise ValueError("a sample cannot be infinite")
    return None if math.isnan(number) else number
