"""The settings of `tests.stats_settings`, and an array source that a test holds back.

While there is a file at the path `TESTS_GATE`, whoever asks for an array of `gated` waits.
"""

import os
import time
from pathlib import Path

import numpy as np

from realtime.sources import array_source
from tests.stats_settings import *  # noqa: F403

GATE = Path(os.environ["TESTS_GATE"])


@array_source("gated")
def make_behind_gate(shape, dtype):
    """Zeros, once the gate is open."""
    while GATE.exists():
        time.sleep(0.01)
    return np.zeros(shape, dtype)
