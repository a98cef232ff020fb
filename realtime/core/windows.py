"""Statistics over the newest samples of a topic: section 6 of the protocol.

Every figure is recomputed from the samples in the window. Running sums would be cheaper and
wrong: at mean 1e9 and σ 1 they make variances negative.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realtime.core.errors import InvalidParameter

MAX_SAMPLES = 100_000  # samples that a topic retains, and so the longest window
MAX_WINDOWS = 16  # different windows that a topic serves at a time
MAX_SECONDS = 86_400  # the longest time window
FIELDS = ("sum", "var", "median", "p90", "p95", "p99", "first", "rate", "nan_count")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Window:
    """The newest `samples`, or those of the last `seconds`; the other of the two is None.

    `text` is how the client wrote it, to be echoed.
    """

    samples: int | None
    seconds: float | None
    text: str


def parse_window(text: str) -> Window:
    """A window from "100" (samples), "60s", "0.5s", "5m" or "1h"; else InvalidParameter."""
    match = _WINDOW.fullmatch(text)
    if match and match["samples"]:
        samples = int(match["samples"])
        if 1 <= samples <= MAX_SAMPLES:
            return Window(samples, None, text)
    elif match:
        seconds = float(match["time"]) * _UNITS[match["unit"]]
        if 0 < seconds <= MAX_SECONDS:
            return Window(None, seconds, text)
    raise InvalidParameter(
        f"window has to be a number of samples from 1 to {MAX_SAMPLES}, as 100, "
        f"or a time up to 24h, as 60s, 0.5s, 5m or 1h; got {text[:40]!a}"
    )


def parse_fields(text: str) -> tuple[str, ...]:
    """The extra fields in a comma-separated list, in the order of FIELDS; "" names none.

    Raises InvalidParameter where one is unknown or stands there twice.
    """
    names = text.split(",") if text else []
    for position, name in enumerate(names):
        if name not in FIELDS:
            raise InvalidParameter(
                f"fields has {name[:40]!a}, which is none of {', '.join(FIELDS)}"
            )
        if name in names[:position]:
            raise InvalidParameter(f"fields has {name} twice")
    return tuple(name for name in FIELDS if name in names)


class SampleRing:
    """The retained samples of one topic, in order of arrival; at most `capacity` of them.

    Three arrays side by side, of which [start:stop] is in use: values, timestamps (seconds since
    the epoch) and the offset of the publication that brought each. They hold up to twice the
    capacity; what is in use moves to their front once it reaches the end. So appending takes
    constant time on average, and a window is always one slice.
    """

    def __init__(self, capacity: int = MAX_SAMPLES) -> None:
        self._capacity = capacity
        self.clear()

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def last_offset(self) -> int:
        """Offset of the last publication appended since the ring was last cleared, else 0."""
        return self._last_offset

    def clear(self) -> None:
        """Forget everything, as for a new epoch."""
        self._values = np.empty(0)
        self._timestamps = np.empty(0)
        self._offsets = np.empty(0, np.int64)
        self._start = self._stop = 0
        self._last_offset = 0
        self._nans = 0  # how many of the retained values are NaN; mostly none, and cheap to know

    def append(self, offset: int, values: Floats, timestamps: Floats) -> None:
        """Add the samples of one publication: two 1-D arrays of one length, finite timestamps.

        Raises ValueError where the offset does not rise, or the arrays do not match.
        """
        if offset <= self._last_offset:
            raise ValueError(f"offset {offset} comes after {self._last_offset}")
        if values.ndim != 1 or values.shape != timestamps.shape:
            raise ValueError(f"shapes {values.shape} and {timestamps.shape} are not one length")
        self._last_offset = offset
        count = min(len(values), self._capacity)
        if not count:
            return
        values, timestamps = values[-count:], timestamps[-count:]
        self._drop(len(self) + count - self._capacity)
        if self._stop + count > len(self._values):
            self._make_room(count)
        added = slice(self._stop, self._stop + count)
        self._values[added] = values
        self._timestamps[added] = timestamps
        self._offsets[added] = offset
        self._stop += count
        self._nans += int(np.count_nonzero(values != values))

    def evict_before(self, offset: int) -> None:
        """Drop the samples of all publications with a lower offset."""
        self._drop(int(self._offsets[self._start : self._stop].searchsorted(offset)))

    def summarise(self, window: Window, fields: Sequence[str]) -> dict[str, float | int | None]:
        """value, count, mean, std, min, max and `fields` (of FIELDS) of the samples in `window`.

        NaN is skipped and counted; what is undefined or not finite is None. std and var divide by
        the count (ddof 0), quantiles interpolate linearly. `value` is the last to arrive and
        `first` the first; in a time window the newest and the oldest by timestamp.
        """
        with np.errstate(all="ignore"):
            values, timestamps = self._slice(window)
            arrived = len(values)
            if self._nans:
                numbers = values == values
                values, timestamps = values[numbers], timestamps[numbers]
            count = len(values)
            if not count:
                return _summarise_nothing(fields, nan_count=arrived)
            first, last = 0, count - 1
            if window.seconds is not None:  # ties: the first, and the last, to arrive
                first, last = int(timestamps.argmin()), last - int(timestamps[::-1].argmax())
            total = np.add.reduce(values)
            mean = total / count
            deviations = values - mean
            var = np.add.reduce(deviations * deviations) / count
            summary: dict[str, float | int | None] = {
                "value": _finite(values[last]),
                "count": count,
                "mean": _finite(mean),
                "std": _finite(np.sqrt(var)),
                "min": _finite(np.minimum.reduce(values)),
                "max": _finite(np.maximum.reduce(values)),
            }
            if fields:
                span = timestamps[last] - timestamps[first]  # 0 for a single sample
                extra: dict[str, float | int | None] = {
                    "sum": _finite(total),
                    "var": _finite(var),
                    "first": _finite(values[first]),
                    "rate": _finite((count - 1) / span) if span > 0 else None,
                    "nan_count": arrived - count,
                }
                quantiles = [name for name in fields if name in _QUANTILES]
                if quantiles:
                    found = np.quantile(values, [_QUANTILES[name] for name in quantiles])
                    extra.update(zip(quantiles, map(_finite, found), strict=True))
                summary.update((name, extra[name]) for name in fields)
            return summary

    def _slice(self, window: Window) -> tuple[Floats, Floats]:
        """Values and timestamps of the samples in `window`, in order of arrival."""
        start = self._start
        if window.samples is not None:
            start = max(start, self._stop - window.samples)
        values = self._values[start : self._stop]
        timestamps = self._timestamps[start : self._stop]
        if window.seconds is None or not len(values):
            return values, timestamps
        # Not `timestamps > newest - seconds`: that difference is rounded, and could be `newest`.
        inside = np.maximum.reduce(timestamps) - timestamps < window.seconds
        # Samples come nearly in the order of their timestamps: mostly what follows the first
        # that is inside is the whole window, and needs no copy.
        tail = slice(int(inside.argmax()), None)
        values, timestamps, inside = values[tail], timestamps[tail], inside[tail]
        return (values, timestamps) if inside.all() else (values[inside], timestamps[inside])

    def _drop(self, count: int) -> None:
        """Forget the `count` oldest samples, if any."""
        if count <= 0:
            return
        if self._nans:
            dropped = self._values[self._start : self._start + count]
            self._nans -= int(np.count_nonzero(dropped != dropped))
        self._start += count

    def _make_room(self, count: int) -> None:
        """Move what is in use to the front of the arrays, or of larger ones if over half full."""
        kept = len(self)
        values, timestamps, offsets = self._values, self._timestamps, self._offsets
        if 2 * (kept + count) > len(values):
            size = 2 * max(kept + count, min(_FIRST_SIZE, self._capacity))
            self._values, self._timestamps = np.empty(size), np.empty(size)
            self._offsets = np.empty(size, np.int64)
        used = slice(self._start, self._stop)
        self._values[:kept] = values[used]
        self._timestamps[:kept] = timestamps[used]
        self._offsets[:kept] = offsets[used]
        self._start, self._stop = 0, kept


_WINDOW = re.compile(r"(?P<samples>[0-9]{1,9})|(?P<time>[0-9]{1,9}(\.[0-9]{1,9})?)(?P<unit>[smh])")
_UNITS = {"s": 1, "m": 60, "h": 3600}
_QUANTILES = {"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_FIRST_SIZE = 32  # samples; most topics are small


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _summarise_nothing(fields: Sequence[str], *, nan_count: int) -> dict[str, float | int | None]:
    summary: dict[str, float | int | None] = dict.fromkeys(
        ("value", "count", "mean", "std", "min", "max", *fields)
    )
    known = {"count": 0, "sum": 0.0, "nan_count": nan_count}
    summary.update((name, known[name]) for name in known if name in summary)
    return summary
