"""How busy this process is."""

import asyncio
import logging
import time
from dataclasses import dataclass, replace

import psutil

from realtime.metrics import LOOP_DELAY
from realtime.sessions import Sessions

logger = logging.getLogger("realtime.recorder")

# The loop is looked at this often, in seconds.
LOOK = 0.25


@dataclass(frozen=True, slots=True)
class Load:
    """Since the last measurement: `cpu` in cores, `memory` in bytes, `loop_delay` in seconds,
    rates in messages a second. `unkept_count` is since the start: ended sessions without a row.
    """

    session_count: int
    cpu: float
    memory: int
    loop_delay: float
    messages_in_rate: float
    messages_out_rate: float
    unkept_count: int = 0


class LoadMeter:
    """Measures from one call to the next."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._process = psutil.Process()
        self._delay = 0.0
        self._last = self._read()
        self._load = Load(0, 0.0, 0, 0.0, 0.0, 0.0)

    async def watch_forever(self) -> None:
        """Note how late the loop is, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK
            await asyncio.sleep(LOOK)
            self._delay = max(self._delay, loop.time() - due)

    def measure(self) -> Load:
        """The load since the last call, or since the start; `/metrics` shows the delay too.

        Where the system does not tell, the last figures stand, and the next call's are since then.
        """
        try:
            now, memory = self._read(), self._process.memory_info().rss
        except (OSError, psutil.Error) as error:  # no descriptor is left, for one
            logger.error("the load of this process could not be read: %s", error)
            return replace(
                self._load,
                session_count=len(self._sessions),
                unkept_count=self._sessions.unkept_count,
            )
        before, self._last = self._last, now
        seconds = max(now[0] - before[0], 1e-3)
        cpu, incoming, outgoing = (
            max(end - start, 0) / seconds for start, end in zip(before[1:], now[1:], strict=True)
        )
        delay, self._delay = self._delay, 0.0
        LOOP_DELAY.set(delay)
        self._load = Load(
            session_count=len(self._sessions),
            cpu=round(cpu, 4),
            memory=memory,
            loop_delay=round(delay, 4),
            messages_in_rate=round(incoming, 2),
            messages_out_rate=round(outgoing, 2),
            unkept_count=self._sessions.unkept_count,
        )
        return self._load

    def _read(self) -> tuple[float, float, int, int]:
        times = self._process.cpu_times()
        return (time.monotonic(), times.user + times.system, *self._sessions.count_messages())
