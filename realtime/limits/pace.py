"""Whether what comes piece by piece comes fast enough to be waited for."""


class Pace:
    """Time for something whose length is not known; `now` is in seconds of one clock.

    There are `seconds` of it to begin with; each byte that comes gives back the time that it
    takes at the least `rate`, up to as much again. So a slow link that goes on gets to the end
    of any message, while one byte now and then, or a pause, is not waited for longer than that.
    """

    __slots__ = ("_left", "_moment", "_rate", "_seconds", "_size")

    def __init__(self, *, seconds: float, rate: float, now: float, size: int = 0) -> None:
        self._seconds = self._left = seconds
        self._rate = rate
        self._moment = now
        self._size = size

    def find_left(self, size: int, now: float) -> float:
        """The seconds that are left once `size` bytes have come in all; 0 or less: too late."""
        earned = self._left + (size - self._size) / self._rate
        self._left = min(earned, self._seconds) - (now - self._moment)
        self._moment, self._size = now, size
        return self._left

    def forgive(self, seconds: float) -> None:
        """So much of the time that has gone by was not for the sender to use."""
        self._moment += seconds

    def skip(self, now: float) -> None:
        """None of the time since it was asked last was."""
        self._moment = now
