"""What is said about the samples in a window.

Every figure is recomputed from the samples. Running sums would be cheaper and wrong: at mean 1e9
and σ 1 they make variances negative. All but quantiles come from the same few passes, so one
summary has all of these, whoever asks for which.
"""

import math
from collections.abc import Collection, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from realtime.core.windows import Window

Floats: TypeAlias = npt.NDArray[np.float64]
Figure: TypeAlias = float | int | None

QUANTILES = {"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
ALWAYS = ("value", "count", "mean", "std", "min", "max")
_SUMMARY = (*ALWAYS, "sum", "var", "first", "rate", "nan_count")

# Seconds that a summary takes at all, for each sample, and for the quantiles of each: about right
# on a machine of 2020. Whoever predicts with them corrects them by what was measured.
SUMMARY_SECONDS = 25e-6
SAMPLE_SECONDS = 1e-9
QUANTILES_SECONDS = 16e-9
# And each message that is made of it.
MESSAGE_SECONDS = 15e-6


class Samples:
    """Values and timestamps in the order of arrival, each of shape (n,)."""

    __slots__ = ("has_nan", "timestamps", "values")

    def __init__(self, values: Floats, timestamps: Floats, *, has_nan: bool) -> None:
        self.values = values
        self.timestamps = timestamps
        self.has_nan = has_nan

    def __len__(self) -> int:
        return len(self.values)

    def copy(self, *, into: tuple[Floats, Floats]) -> "Samples":
        """The same in memory of one's own, which has to be long enough."""
        values, timestamps = (array[: len(self)] for array in into)
        np.copyto(values, self.values)
        np.copyto(timestamps, self.timestamps)
        return Samples(values, timestamps, has_nan=self.has_nan)

    def select(self, window: Window) -> "Samples":
        """Those in a window, in order of arrival."""
        values, timestamps = self.values, self.timestamps
        if window.samples is not None:
            start = max(len(values) - window.samples, 0)
            values, timestamps = values[start:], timestamps[start:]
        elif len(values):
            # Not `timestamps > newest - seconds`: that is rounded, and could be `newest`.
            inside = np.maximum.reduce(timestamps) - timestamps < window.seconds
            # Samples come nearly in the order of their timestamps: mostly what follows the first
            # that is inside is the whole window, and needs no copy.
            tail = slice(int(inside.argmax()), None)
            values, timestamps, inside = values[tail], timestamps[tail], inside[tail]
            if not inside.all():
                values, timestamps = values[inside], timestamps[inside]
        return Samples(values, timestamps, has_nan=self.has_nan)


def predict_seconds(samples: int, quantiles: Collection[str]) -> float:
    """About how long a summary of so many samples takes."""
    each = SAMPLE_SECONDS + (QUANTILES_SECONDS if quantiles else 0)
    return SUMMARY_SECONDS + samples * each


def summarise(
    samples: Samples,
    window: Window,
    quantiles: Collection[str] = (),
    *,
    scratch: Floats | None = None,
) -> dict[str, Figure]:
    """All figures of the samples in `window`; of the quantiles those that are named.

    NaN is skipped and counted; what is undefined or not finite is None. std and var divide by the
    count (ddof 0), quantiles interpolate linearly. `value` is the last to arrive and `first` the
    first; in a time window the newest and the oldest by timestamp. `scratch` is memory for as
    many values as there are samples, to save taking it anew.
    """
    with np.errstate(all="ignore"):
        inside = samples.select(window)
        values, timestamps = inside.values, inside.timestamps
        arrived = len(values)
        if inside.has_nan:
            numbers = values == values
            values, timestamps = values[numbers], timestamps[numbers]
        count = len(values)
        if not count:
            return _summarise_nothing(quantiles, nan_count=arrived)
        first, last = 0, count - 1
        if window.seconds is not None:  # ties: the first, and the last, to arrive
            first, last = int(timestamps.argmin()), last - int(timestamps[::-1].argmax())
        scratch = np.empty(count) if scratch is None else scratch[:count]
        total = np.add.reduce(values)
        mean = total / count
        np.subtract(values, mean, out=scratch)
        var = np.add.reduce(np.multiply(scratch, scratch, out=scratch)) / count
        span = timestamps[last] - timestamps[first]  # 0 for a single sample
        summary: dict[str, Figure] = {
            "value": _finite(values[last]),
            "count": count,
            "mean": _finite(mean),
            "std": _finite(np.sqrt(var)),
            "min": _finite(np.minimum.reduce(values)),
            "max": _finite(np.maximum.reduce(values)),
            "sum": _finite(total),
            "var": _finite(var),
            "first": _finite(values[first]),
            "rate": _finite((count - 1) / span) if span > 0 else None,
            "nan_count": arrived - count,
        }
        if quantiles:
            np.copyto(scratch, values)
            summary.update(_find_quantiles(scratch, quantiles))
        return summary


def pick(summary: dict[str, Figure], fields: Sequence[str]) -> dict[str, Figure]:
    """Of a summary what is always there, and `fields` in their order."""
    return {name: summary[name] for name in (*ALWAYS, *fields)}


def _find_quantiles(values: Floats, names: Collection[str]) -> dict[str, Figure]:
    """As numpy.quantile has them, to the last bit; the values lose their order.

    https://numpy.org/doc/stable/reference/generated/numpy.quantile.html, method `linear`.
    """
    top = len(values) - 1
    places = {name: top * QUANTILES[name] for name in names}
    wanted = {int(place) + step for place in places.values() for step in (0, 1)}
    values.partition(sorted(min(place, top) for place in wanted))
    found: dict[str, Figure] = {}
    for name, place in places.items():
        index = int(place)
        part = place - index
        low, high = values[index], values[min(index + 1, top)]
        step = high - low
        found[name] = _finite(low + step * part if part < 0.5 else high - step * (1 - part))
    return found


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _summarise_nothing(quantiles: Collection[str], *, nan_count: int) -> dict[str, Figure]:
    summary: dict[str, Figure] = dict.fromkeys((*_SUMMARY, *quantiles))
    return {**summary, "count": 0, "sum": 0.0, "nan_count": nan_count}
