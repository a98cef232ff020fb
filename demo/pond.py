"""A pond in the rain: an array that is worth looking at, since it never stands still."""

import numpy as np
from numpy.typing import NDArray

_SPEED = 0.2  # squared, in cells a step; the scheme is stable up to 0.5
_DAMPING = 0.014  # of the velocity, each step
_STEPS = 2  # of the equation, each time


class Pond:
    """The wave equation on a grid with reflecting shores; drops fall at random places.

    The explicit finite-difference scheme: Courant, Friedrichs, Lewy (1928), of second order.
    """

    def __init__(self, *, rows: int = 60, columns: int = 96, rain: float = 0.08) -> None:
        """`rain` is the chance of a drop each time."""
        self._rain = rain
        self._random = np.random.default_rng()
        self._y, self._x = np.mgrid[:rows, :columns].astype(np.float32)
        self._level: NDArray[np.float32] = np.zeros((rows, columns), dtype=np.float32)
        self._before = self._level
        self._drop()

    def advance(self) -> NDArray[np.float32]:
        """The next moment: heights around 0 as a float32 array (rows, columns), a fresh one."""
        if self._random.random() < self._rain:
            self._drop()
        for _ in range(_STEPS):
            self._step()
        return self._level

    def _step(self) -> None:
        level = self._level
        around = np.pad(level, 1, mode="edge")
        bend = around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]
        motion = (1 - _DAMPING) * (level - self._before)
        following = level + motion + _SPEED * (bend - 4 * level)
        self._before, self._level = level, following.astype(np.float32)

    def _drop(self) -> None:
        rows, columns = self._level.shape
        y, x = self._random.uniform(0, (rows, columns))
        distance = (self._y - y) ** 2 + (self._x - x) ** 2
        drop = np.exp(-distance / 10)
        drop -= drop.mean()  # the level of the pond stays what it was
        self._level = (self._level + drop).astype(np.float32)
        self._before = (self._before + drop).astype(np.float32)
