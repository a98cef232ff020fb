"""Array sources: the two that are built in, and a project's own."""

import numpy as np
import pytest

from realtime import sources
from realtime.core.errors import InvalidMessage, NotFound
from realtime.sources import array_source, find_source


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(sources, "_SOURCES", dict(sources._SOURCES))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_random_is_uniform_in_zero_to_one_of_the_dtype_asked_for(dtype: str) -> None:
    array = find_source("random")((300, 400), np.dtype(dtype))
    assert (array.shape, array.dtype) == ((300, 400), np.dtype(dtype))
    assert array.min() >= 0
    assert array.max() < 1  # in float16, 1 in 4000 would be rounded up to 1.0
    counts, _ = np.histogram(array.astype(np.float64), bins=10, range=(0, 1))
    assert counts.min() > 0.9 * array.size / 10


def test_random_differs_each_time() -> None:
    random = find_source("random")
    assert not np.array_equal(random((8,), np.dtype("f8")), random((8,), np.dtype("f8")))


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex128"])
def test_random_of_another_dtype_is_refused(dtype: str) -> None:
    with pytest.raises(InvalidMessage):
        find_source("random")((2,), np.dtype(dtype))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "complex64"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_zeros_are_zeros_of_any_dtype_and_shape(dtype: str, shape: tuple[int, ...]) -> None:
    array = find_source("zeros")(shape, np.dtype(dtype))
    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    assert not array.any()


def test_a_source_of_the_project_is_found_by_its_name() -> None:
    @array_source("ones")
    def make_ones(shape: tuple[int, ...], dtype: "np.dtype") -> np.ndarray:
        return np.ones(shape, dtype)

    assert find_source("ones") is make_ones


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="random"):
        array_source("random")(lambda shape, dtype: np.zeros(shape, dtype))


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(NotFound) as caught:
        find_source("noise")
    assert "random, zeros" in caught.value.detail
