"""An event loop whose clock stands still while something runs and jumps to the next timer.

What is tested in it must use no threads, sockets or processes.
"""

import asyncio
import selectors
from types import SimpleNamespace

import pytest

from realtime.history import memory

# Steps of the loop in one instant that no program which waits for anything ever needs.
MAX_STEPS = 100_000


class _Selector(selectors.DefaultSelector):
    """Waits by moving the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._steps = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everything waits, and nothing is left to happen"
        self._steps = 0 if timeout > 0 else self._steps + 1
        assert self._steps < MAX_STEPS, "the loop runs on and on in one instant"
        self.now += max(timeout, 0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Hours pass in no time, and always in the same order: `asyncio.Runner(loop_factory=…)`."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


@pytest.fixture
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop of the test, and of its asynchronous fixtures, is a virtual one.

    So whatever follows from something has happened before the next timer, and a busy machine
    changes nothing. The time that the history in memory keeps its publications is virtual, too.
    """
    monkeypatch.setattr(asyncio.events, "new_event_loop", VirtualLoop)
    clock = SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time())
    monkeypatch.setattr(memory, "time", clock)
