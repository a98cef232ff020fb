"""Where long input is received into: memory that goes back to the system when it is let go of.

The allocator keeps what is freed, which makes the next long message cheap. Where thousands come
at the same time and are given up, it would keep several times what they ever were together. So
while much is held, each buffer is a mapping of its own.
"""

import mmap

import numpy as np
from numpy.typing import NDArray

# From this size on numpy asks for huge pages, and so do we: a page is 2 MiB then, in bytes.
HUGE_BUFFER = 4 * 1024 * 1024
HUGE_PAGE = 2 * 1024 * 1024
_HUGE = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


def allocate(size: int) -> NDArray[np.uint8]:
    """Not zeroed: each byte is received before anybody reads it."""
    return np.empty(size, np.uint8)


def map_own(size: int) -> NDArray[np.uint8]:
    """The same, apart from what the allocator has."""
    mapping = mmap.mmap(-1, size, flags=_PRIVATE)
    if _HUGE is not None and size >= HUGE_BUFFER:
        mapping.madvise(_HUGE)
    return np.frombuffer(mapping, np.uint8)


def find_unused(size: int, filled: int) -> int:
    """What a buffer takes of the memory besides what it is filled with, at most."""
    return min(size - filled, HUGE_PAGE) if size >= HUGE_BUFFER else 0
