"""This machine's metrics: how busy its cores, memory, network and disks are."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import psutil
from numpy.typing import NDArray

Counters = tuple[float, float, float]  # time in seconds, network bytes, disk bytes


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of the machine, over the time since the sample before it.

    `cores` and `memory` are in percent, `load` is the load average of the last minute,
    `network` and `disk` are in bytes a second, both directions together.
    """

    cores: tuple[float, ...]
    load: float
    memory: float
    network: float
    disk: float

    @property
    def cpu(self) -> float:
        """Percent over all cores."""
        return fmean(self.cores)


class Sampler:
    """Reads psutil. Rates are over the time between two reads; the first has none yet: zeros."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = self._read_counters()
        psutil.cpu_percent(percpu=True)  # the first call only sets psutil's own starting point

    def read(self) -> Sample:
        """Take one sample. Never waits; costs about 0.2 ms."""
        last, self._last = self._last, self._read_counters()
        elapsed = self._last[0] - last[0]
        return Sample(
            cores=tuple(psutil.cpu_percent(percpu=True)),
            load=psutil.getloadavg()[0],
            memory=psutil.virtual_memory().percent,
            network=_rate(self._last[1] - last[1], elapsed),
            disk=_rate(self._last[2] - last[2], elapsed),
        )

    def _read_counters(self) -> Counters:
        # A machine without network interfaces or disks, such as a container, answers None.
        network = psutil.net_io_counters()
        disk = psutil.disk_io_counters()
        return (
            self._clock(),
            network.bytes_sent + network.bytes_recv if network else 0,
            disk.read_bytes + disk.write_bytes if disk else 0,
        )


def mean_cores(samples: list[Sample]) -> tuple[float, ...]:
    """The mean of each core, in percent, over samples of as many cores as the last one."""
    count = len(samples[-1].cores)
    alike = (sample.cores for sample in samples if len(sample.cores) == count)
    return tuple(fmean(values) for values in zip(*alike, strict=True))


class CoreHistory:
    """The use of each core over the last `columns` seconds, as one array.

    The array is float32 of shape (cores, columns) in percent, the newest column last, and
    zero where there is no history yet.
    """

    def __init__(self, columns: int = 300) -> None:
        self._columns = columns
        self._array: NDArray[np.float32] = np.zeros((0, columns), dtype=np.float32)

    def append(self, cores: tuple[float, ...], *, seconds: int = 1) -> None:
        """Add the use of each core in the last `seconds`, as that many equal columns."""
        if len(cores) != len(self._array):  # the first time, or a core was added or removed
            self._array = np.zeros((len(cores), self._columns), dtype=np.float32)
        kept = max(self._columns - seconds, 0)
        self._array[:, :kept] = self._array[:, self._columns - kept :].copy()
        self._array[:, kept:] = np.array(cores, dtype=np.float32)[:, np.newaxis]

    def snapshot(self) -> NDArray[np.float32]:
        """A copy of the array that later columns do not change."""
        return self._array.copy()


def _rate(amount: float, elapsed: float) -> float:
    # A counter that starts again from zero must not show as a negative rate.
    return max(amount, 0.0) / elapsed if elapsed > 0 else 0.0
