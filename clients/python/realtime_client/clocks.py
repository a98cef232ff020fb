"""Time that goes on while the computer sleeps, and timers that know that they were late for it."""

import asyncio
import time

SLICE = 5.0  # s; so soon after a sleep it is noticed
LATE = 2.0  # s; a busy event loop may be late by less


class Clock:
    """Called, it gives the seconds since it was made, sleep included; it never goes back.

    The steady clock stands still while some computers sleep; that of the wall may be set back.
    """

    def __init__(self) -> None:
        self._steady, self._wall = time.monotonic(), time.time()
        self._total = 0.0

    def __call__(self) -> float:
        steady, wall = time.monotonic(), time.time()
        self._total += max(steady - self._steady, wall - self._wall)
        self._steady, self._wall = steady, wall
        return self._total


async def sleep(seconds: float) -> bool:
    """Sleep; returns whether that took much longer: the computer slept, or the loop was blocked."""
    clock = Clock()
    while (left := seconds - clock()) > 0:  # noqa: ASYNC110 (time itself is waited for)
        await asyncio.sleep(min(left, SLICE))
    return clock() - seconds > LATE
