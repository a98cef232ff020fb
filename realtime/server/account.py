"""What a socket's input costs: frames, bytes, memory and time, and for whom that counts."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from realtime.conf import Settings
from realtime.core.close_codes import CloseCode
from realtime.limits import HeldMemory, Holding, Limit, Pace
from realtime.limits.allowances import Allowance
from realtime.metrics import LIMITED
from realtime.server.buffers import allocate, map_own

# A socket whose user has no bytes left waits for so many seconds at most, and looks again.
MAX_WAIT = 1.0
# Control frames and fragments before a session has begun; who signs in needs none.
EARLY_FRAMES = 64

End = Callable[[CloseCode, str], None]


class InputAccount:
    """The account of one socket. `fail` closes the connection; `cut` lets go of all, too."""

    __slots__ = (
        "_allowance",
        "_charged",
        "_cut",
        "_early_frames",
        "_fail",
        "_has_begun",
        "_holding",
        "_message",
        "_pace",
        "_settings",
        "held",
    )

    def __init__(self, settings: Settings, *, fail: End, cut: End) -> None:
        self.held = 0  # bytes, as its owner is counted for them
        self._settings = settings
        self._fail = fail
        self._cut = cut
        self._has_begun = True
        self._early_frames = 0
        self._allowance: Allowance | None = None
        self._holding: Holding | None = None
        self._charged = 0  # bytes of an unfinished message that the allowance has paid for
        self._pace: Pace | None = None  # of a message that was unfinished when looked at last
        self._message = 0  # which one that was

    def open(self, memory: HeldMemory, *, owner: str, has_begun: bool) -> None:
        """From now on what is held counts for this owner."""
        self._holding = memory.open(owner, self._cut)
        self._has_begun = has_begun

    def begin(self, allowance: Allowance | None, *, owner: str) -> None:
        """The session has begun: its user is known."""
        self._has_begun = True
        self._allowance = allowance
        if self._holding is not None:
            self._holding.move(owner)

    def close(self) -> None:
        """Nothing is held any more; what was charged for an unfinished message stays so."""
        self._allowance = self._pace = None
        if self._holding is not None:
            holding, self._holding = self._holding, None
            self.held = 0
            holding.hold(0)

    def take_frames(self, count: int) -> None:
        """Control frames and fragments have come: who sends too many of them is closed."""
        allowance = self._allowance
        if not self._has_begun:
            self._early_frames += count
            is_within = self._early_frames <= EARLY_FRAMES
        else:
            is_within = allowance is None or allowance.take_frames(count, time.monotonic())
        if not is_within:
            LIMITED.labels(Limit.FRAMES).inc()
            self._fail(CloseCode.RATE_LIMITED, "too many control frames or fragments")

    def take_bytes(self, unfinished: int) -> float:
        """So many bytes of an unfinished message have come until now: they are paid for.

        A whole one is paid for by the session, so it gets them back; one that is given up does
        not. Returns the seconds until more should come.
        """
        allowance, grown = self._allowance, unfinished - self._charged
        if allowance is None or not grown:
            return 0.0
        self._charged = unfinished
        wait = min(allowance.take_bytes(grown, time.monotonic()), MAX_WAIT)
        if not unfinished:
            return 0.0
        if wait and self._pace is not None:
            self._pace.forgive(wait)
        return wait

    def hold(self, size: int) -> None:
        """So many bytes are held now; somebody may be cut for it, perhaps this socket."""
        if size != self.held and self._holding is not None:
            self.held = size
            self._holding.hold(size)

    def allocate(self, size: int) -> NDArray[np.uint8]:
        """A buffer for a long frame."""
        holding = self._holding
        return map_own(size) if holding is not None and holding.is_crowded else allocate(size)

    def check(self, received: int, *, message: int, is_paused: bool, now: float) -> None:
        """Called every two seconds: a message that does not come to its end is given up.

        `received`: how many bytes of it have come; `message`: which one it is.
        """
        if not received:
            self._pace = None
        elif self._pace is None or self._message != message:
            self._message = message
            self._pace = Pace(
                seconds=self._settings.message_timeout,
                rate=self._settings.least_bytes_per_second,
                now=now,
                size=received,
            )
        elif is_paused:
            self._pace.skip(now)
        elif self._pace.find_left(received, now) <= 0:
            LIMITED.labels(Limit.MESSAGE_TIME).inc()
            self._fail(CloseCode.SLOW_SENDER, "a message did not come to its end in time")
