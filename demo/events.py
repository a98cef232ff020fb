"""Notable changes of a machine's state: pure state machines, time is an argument."""

from collections.abc import Iterable
from dataclasses import dataclass

Event = dict[str, str | float]


@dataclass(slots=True)
class Threshold:
    """High after `hold` seconds at or over `upper`, normal after as long at or under `lower`.

    The distance between the two keeps a value that trembles around one of them quiet.
    """

    upper: float
    lower: float
    hold: float
    high: bool = False
    _since: float | None = None

    def update(self, now: float, value: float) -> bool:
        """Take in the value at `now`, in seconds; say whether this turned the state around."""
        turning = value <= self.lower if self.high else value >= self.upper
        if not turning:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        if now - self._since < self.hold:
            return False
        self.high = not self.high
        self._since = None
        return True


class EventDetector:
    """Turns the state of a machine, seen about once a second, into events worth telling."""

    def __init__(self) -> None:
        self._cpu = Threshold(upper=90, lower=70, hold=5)
        self._memory = Threshold(upper=90, lower=85, hold=0)
        self._cores: dict[int, Threshold] = {}

    def update(self, now: float, *, cores: Iterable[float], memory: float) -> list[Event]:
        """The events of this moment, oldest first; mostly none.

        `now` is in seconds, `cores` holds the percent of each core, `memory` is in percent.
        """
        cores = list(cores)
        cpu = sum(cores) / len(cores)
        events = []
        if self._cpu.update(now, cpu):
            events.append(_describe("cpu", "CPU", cpu, self._cpu))
        if self._memory.update(now, memory):
            events.append(_describe("memory", "Memory", memory, self._memory))
        for number, value in enumerate(cores):
            core = self._cores.setdefault(number, Threshold(upper=95, lower=70, hold=30))
            if core.update(now, value):
                events.append(_describe("core", f"Core {number}", value, core) | {"core": number})
        return events


def _describe(kind: str, name: str, value: float, threshold: Threshold) -> Event:
    state, side, limit = (
        ("high", "above", threshold.upper)
        if threshold.high
        else ("normal", "below", threshold.lower)
    )
    text = f"{name} {side} {limit:g} %"
    if threshold.hold:
        text += f" for {threshold.hold:g} s"
    return {"kind": f"{kind}_{state}", "text": text, "value": round(value, 1)}
