"""The samples of a topic that its history retains, side by side."""

from collections.abc import Sequence

import numpy as np

from realtime.core.summaries import QUANTILES, Figure, Floats, Samples, pick, summarise
from realtime.core.windows import MAX_SAMPLES, Window


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
    def nbytes(self) -> int:
        """What the arrays take in memory."""
        return self._values.nbytes + self._timestamps.nbytes + self._offsets.nbytes

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

    @property
    def samples(self) -> Samples:
        """What is retained; views that hold until the next change."""
        used = slice(self._start, self._stop)
        return Samples(self._values[used], self._timestamps[used], has_nan=bool(self._nans))

    def summarise(self, window: Window, fields: Sequence[str]) -> dict[str, Figure]:
        """What is always said about the samples in `window`, and `fields`."""
        quantiles = [name for name in fields if name in QUANTILES]
        return pick(summarise(self.samples, window, quantiles), fields)

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


_FIRST_SIZE = 32  # samples; most topics are small
