"""How busy a process is."""

import asyncio
import time
from dataclasses import replace
from typing import Any, cast

import psutil
import pytest
from prometheus_client import REGISTRY

from realtime.sessions import Sessions
from realtime.tracking.load import LoadMeter
from tests.sessions import StubSession


def spin(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


async def test_what_is_measured_is_since_the_last_time() -> None:
    sessions = Sessions()
    meter = LoadMeter(sessions)
    stub = StubSession()
    sessions.add(stub.session)
    stub.session.messages_in, stub.session.messages_out = 100, 300
    sessions.unkept_count = 7
    spin(0.2)
    busy = meter.measure()
    assert (busy.session_count, busy.unkept_count) == (1, 7)
    assert busy.cpu > 0
    assert busy.memory > 1_000_000
    assert busy.messages_out_rate > 2 * busy.messages_in_rate > 0
    await asyncio.sleep(0.05)
    idle = meter.measure()
    assert (idle.messages_in_rate, idle.messages_out_rate) == (0, 0)


class Unreadable:
    """A process that the system tells nothing about, as where no descriptor is left."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def cpu_times(self) -> Any:
        raise self._error


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), psutil.AccessDenied()])
async def test_while_nothing_can_be_read_the_last_figures_stand(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = Sessions()
    meter = LoadMeter(sessions)
    sessions.add(StubSession().session)
    spin(0.05)
    before = meter.measure()
    process, meter._process = meter._process, cast(Any, Unreadable(error))
    sessions.add(StubSession().session)
    assert meter.measure() == replace(before, session_count=2)
    assert "could not be read" in caplog.text
    meter._process = process
    spin(0.05)
    after = meter.measure()
    assert after.cpu > 0
    assert after.memory > 1_000_000


async def test_a_loop_that_stands_still_shows() -> None:
    meter = LoadMeter(Sessions())
    watch = asyncio.create_task(meter.watch_forever())
    await asyncio.sleep(0)
    time.sleep(0.5)
    await asyncio.sleep(0.01)
    delay = meter.measure().loop_delay
    assert 0.1 < delay < 60  # seconds, however busy the machine
    assert REGISTRY.get_sample_value("realtime_loop_delay_seconds") == pytest.approx(
        delay, abs=1e-4
    )
    assert meter.measure().loop_delay == 0
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
