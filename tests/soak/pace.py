"""How long the soaks go on, and what their chances begin with.

`SOAK_SCALE=0.1 make soak` is a quick look at all of them; `SOAK_SEED=7` repeats a run's chances.
"""

import os
import time
from collections.abc import Iterator

SCALE = float(os.environ.get("SOAK_SCALE", "1"))
SEED = int(os.environ.get("SOAK_SEED") or int.from_bytes(os.urandom(4)))


def last(seconds: float) -> Iterator[float]:
    """Go on for so many seconds, scaled; yields how many have gone by."""
    began = time.monotonic()
    while (gone := time.monotonic() - began) < seconds * SCALE:
        yield gone


def find_quantile(values: list[float], share: float) -> float:
    """The value that this share of all does not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]
