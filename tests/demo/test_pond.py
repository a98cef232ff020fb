"""The made-up pond: demo/pond.py."""

import numpy as np

from demo.pond import Pond


def test_the_water_moves_and_each_moment_is_an_array_of_its_own():
    pond = Pond(rows=20, columns=30)
    first, second = pond.advance(), pond.advance()
    assert (first.shape, first.dtype) == ((20, 30), np.float32)
    assert not np.shares_memory(first, second)
    assert not np.array_equal(first, second)


def test_the_water_stays_in_the_pond_and_never_swells_however_long_it_rains():
    pond = Pond(rain=1)
    for _ in range(2000):
        level = pond.advance()
    assert abs(level.mean()) < 1e-3
    assert np.abs(level).max() < 20


def test_without_rain_it_comes_to_rest():
    pond = Pond(rows=20, columns=30, rain=0)
    start = np.abs(pond.advance()).max()
    for _ in range(1000):
        level = pond.advance()
    assert np.abs(level).max() < start / 100
