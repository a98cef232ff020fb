"""Who reads which windows of a topic's statistics: bounded for each user, and in all."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from realtime.core.errors import InvalidParameter
from realtime.core.summaries import QUANTILES
from realtime.core.windows import Window

# Different windows of a topic, and different sets of fields of these: of one user, and in all.
MAX_USER_WINDOWS = 16
MAX_WINDOWS = 64
MAX_USER_VIEWS = 128
MAX_VIEWS = 512
# A window that so many users share costs none of them anything worth counting.
MAX_PAYERS = 32

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one user wants to know."""

    window: Window
    fields: tuple[str, ...]
    user: str  # or else address


class Audience:
    """The readings of one topic, each as often as there are sessions that have it."""

    def __init__(self) -> None:
        self._readings: Counter[Reading] = Counter()
        self._views: Counter[tuple[Window, tuple[str, ...]]] = Counter()
        self._windows: dict[Window, Counter[str]] = {}  # with their users
        self._users: dict[str, Counter[Window]] = {}  # with how many views they have of each
        self._counts: Counter[Window] = Counter()  # of its views
        self._quantiles: dict[Window, frozenset[str]] = {}

    def __len__(self) -> int:
        return self._readings.total()

    def __contains__(self, window: Window) -> bool:
        return window in self._windows

    @property
    def window_count(self) -> int:
        """How many different windows are read."""
        return len(self._windows)

    def find_users(self, window: Window) -> list[str]:
        """Who pays for a window; nobody where very many share it."""
        users = self._windows.get(window, ())
        return list(users) if len(users) <= MAX_PAYERS else []

    def find_quantiles(self, window: Window) -> frozenset[str]:
        """The quantiles that somebody wants of a window."""
        found = self._quantiles.get(window)
        if found is None:
            fields = {name for other, names in self._views if other == window for name in names}
            found = self._quantiles[window] = frozenset(fields & QUANTILES.keys())
        return found

    def count_views(self, window: Window) -> int:
        """How many different sets of fields are read of a window."""
        return self._counts[window]

    def add(self, reading: Reading) -> None:
        """One more session; raises InvalidParameter that says what there may be."""
        if reading not in self._readings:
            self._check(reading)
            window, user = reading.window, reading.user
            self._windows.setdefault(window, Counter())[user] += 1
            self._users.setdefault(user, Counter())[window] += 1
            self._quantiles.pop(window, None)
        view = (reading.window, reading.fields)
        self._counts[reading.window] += view not in self._views
        self._views[view] += 1
        self._readings[reading] += 1

    def remove(self, reading: Reading) -> None:
        """One session less."""
        window, user, view = reading.window, reading.user, (reading.window, reading.fields)
        _decrease(self._views, view)
        if view not in self._views:
            _decrease(self._counts, window)
        _decrease(self._readings, reading)
        if reading in self._readings:
            return
        self._quantiles.pop(window, None)
        _decrease(users := self._windows[window], user)
        if not users:
            del self._windows[window]
        _decrease(windows := self._users[user], window)
        if not windows:
            del self._users[user]

    def _check(self, reading: Reading) -> None:
        window, own = reading.window, self._users.get(reading.user, Counter())
        if window not in own and len(own) >= MAX_USER_WINDOWS:
            raise InvalidParameter(
                f"window: you have {MAX_USER_WINDOWS} different windows of this topic, which is "
                f"as many as one may have; take one of {_list(own)}"
            )
        if window not in self._windows and len(self._windows) >= MAX_WINDOWS:
            raise InvalidParameter(
                f"window: {MAX_WINDOWS} different windows are in use on this topic; take one of "
                + _list(self._windows)
            )
        if own.total() >= MAX_USER_VIEWS:
            raise InvalidParameter(
                f"fields: you have {MAX_USER_VIEWS} different sets of windows and fields of this "
                "topic, which is as many as one may have; ask for more fields in fewer sessions"
            )
        if (window, reading.fields) not in self._views and len(self._views) >= MAX_VIEWS:
            raise InvalidParameter(
                f"fields: {MAX_VIEWS} different sets of windows and fields are in use on this "
                "topic; ask for all fields of a window, as others may do"
            )


def _list(windows: Iterable[Window]) -> str:
    return ", ".join(sorted(window.text for window in windows))


def _decrease(counter: Counter[T], key: T) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
