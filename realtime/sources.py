"""Arrays on request: named sources, made in a thread when a client asks.

@array_source("noise")
def make_noise(shape, dtype):
    return np.random.default_rng().normal(size=shape).astype(dtype)
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from realtime.core.errors import InvalidMessage, NotFound

Array: TypeAlias = npt.NDArray[Any]
Source: TypeAlias = Callable[[tuple[int, ...], "np.dtype[Any]"], Array]

_SOURCES: dict[str, Source] = {}


def array_source(name: str) -> Callable[[Source], Source]:
    """Register a function `(shape, dtype) -> array` under a name that clients can request.

    It runs in a thread and has to return an array of just that shape and dtype.
    """

    def register(source: Source) -> Source:
        if name in _SOURCES:
            raise ValueError(f"there is an array source {name!r} already")
        _SOURCES[name] = source
        return source

    return register


def find_source(name: str) -> Source:
    """The source of that name; raises NotFound."""
    try:
        return _SOURCES[name]
    except KeyError as error:
        names = ", ".join(sorted(_SOURCES))
        raise NotFound(f"no source is called {name!r}; there are {names}") from error


@array_source("random")
def make_random(shape: tuple[int, ...], dtype: "np.dtype[Any]") -> Array:
    """Uniform in [0, 1), of a floating-point dtype."""
    if dtype.kind != "f":
        raise InvalidMessage("random makes float16, float32 or float64")
    generator = np.random.default_rng()
    if dtype.itemsize >= 4:
        return np.asarray(generator.random(shape, dtype=dtype.type), dtype)
    # Rounding to float16 can reach 1.0, which is outside the range.
    return np.minimum(generator.random(shape, dtype=np.float32), 1 - 2**-11).astype(dtype)


@array_source("zeros")
def make_zeros(shape: tuple[int, ...], dtype: "np.dtype[Any]") -> Array:
    """Zeros of any dtype."""
    return np.zeros(shape, dtype)
