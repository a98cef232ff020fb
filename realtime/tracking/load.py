"""How busy this process is."""

import asyncio
import time
from dataclasses import dataclass

import psutil

from realtime.metrics import LOOP_DELAY
from realtime.sessions import Sessions

# The loop is looked at this often, in seconds.
LOOK = 0.25


@dataclass(frozen=True, slots=True)
class Load:
    """Since the last measurement: `cpu` in cores, `memory` in bytes, `loop_delay` in seconds,
    rates in messages a second.
    """

    session_count: int
    cpu: float
    memory: int
    loop_delay: float
    messages_in_rate: float
    messages_out_rate: float


class LoadMeter:
    """Measures from one call to the next."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._process = psutil.Process()
        self._delay = 0.0
        self._last = self._read()

    async def watch_forever(self) -> None:
        """Note how late the loop is, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK
            await asyncio.sleep(LOOK)
            self._delay = max(self._delay, loop.time() - due)

    def measure(self) -> Load:
        """The load since the last call, or since the start; `/metrics` shows the delay too."""
        before, now = self._last, self._read()
        self._last = now
        seconds = max(now[0] - before[0], 1e-3)
        cpu, incoming, outgoing = (
            max(end - start, 0) / seconds for start, end in zip(before[1:], now[1:], strict=True)
        )
        delay, self._delay = self._delay, 0.0
        LOOP_DELAY.set(delay)
        return Load(
            session_count=len(self._sessions),
            cpu=round(cpu, 4),
            memory=self._process.memory_info().rss,
            loop_delay=round(delay, 4),
            messages_in_rate=round(incoming, 2),
            messages_out_rate=round(outgoing, 2),
        )

    def _read(self) -> tuple[float, float, int, int]:
        times = self._process.cpu_times()
        return (time.monotonic(), times.user + times.system, *self._sessions.count_messages())
