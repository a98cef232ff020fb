"""A computer that sleeps: what its timers did not see is not held against the server."""

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from realtime_client import Config, State, StateChange, UnknownOutcome, connect
from realtime_client.clocks import LATE, Clock, sleep
from tests.clients.python.test_scripted_server import Peer, Script, running

HOUR = 3600.0
Configure = Callable[..., Config]
Pass = Callable[[float], None]


@pytest.fixture
def pass_asleep(monkeypatch: pytest.MonkeyPatch) -> Pass:
    """Lets so many seconds go by on the clock of the wall alone, as while some computers sleep."""
    slept = [0.0]
    clocks = SimpleNamespace(monotonic=time.monotonic, time=lambda: time.time() + slept[0])
    monkeypatch.setattr("realtime_client.clocks.time", clocks)
    monkeypatch.setattr("realtime_client.clocks.SLICE", 0.05)
    monkeypatch.setattr("realtime_client.session.WAKING_PATIENCE", 0.2)

    def go_by(seconds: float) -> None:
        slept[0] += seconds

    return go_by


async def follow(peer: Peer) -> None:
    await peer.greet()
    await peer.stay()


async def fall_silent(peer: Peer) -> None:
    await peer.greet()
    peer.connection.transport.pause_reading()
    await peer.stay()


def test_a_clock_counts_what_was_slept_and_never_goes_back(pass_asleep: Pass) -> None:
    clock = Clock()
    assert clock() < 1
    pass_asleep(HOUR)
    assert HOUR <= clock() < HOUR + 1
    pass_asleep(-10 * HOUR)  # it was set back
    assert HOUR <= clock() < HOUR + 1
    pass_asleep(HOUR)
    assert 2 * HOUR <= clock() < 2 * HOUR + 2


async def test_a_wait_ends_when_its_time_has_passed_in_sleep(pass_asleep: Pass) -> None:
    began = time.monotonic()
    wait = asyncio.ensure_future(sleep(60))
    await asyncio.sleep(0)
    pass_asleep(HOUR)
    assert await wait is True
    assert time.monotonic() - began < LATE
    assert await sleep(0.01) is False


async def test_a_connection_that_did_not_outlive_a_sleep_costs_no_attempt(
    pass_asleep: Pass, config: Configure
) -> None:
    changes: list[StateChange] = []
    script = Script(fall_silent, follow)
    async with (
        asyncio.timeout(30),
        running(script) as url,
        connect(url, on_state=changes.append, config=config(max_retries=0)) as stream,
    ):
        await asyncio.sleep(0.1)
        pass_asleep(HOUR)
        while len(script.peers) < 2 or stream.state is not State.LIVE:
            await asyncio.sleep(0.01)
        assert [change.attempt for change in changes] == [0] * len(changes)
        script.peers[0].connection.transport.abort()


async def test_a_connection_that_outlived_a_sleep_is_kept(
    pass_asleep: Pass, config: Configure
) -> None:
    script = Script(follow)
    async with (
        asyncio.timeout(30),
        running(script) as url,
        connect(url, config=config(max_retries=0)) as stream,
    ):
        for _ in range(3):
            pass_asleep(HOUR)
            await asyncio.sleep(0.5)
        assert (stream.state, len(script.peers)) == (State.LIVE, 1)


async def test_a_deadline_that_passed_in_sleep_gets_a_second_one(
    pass_asleep: Pass, config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime_client.session.WAKING_PATIENCE", 5.0)
    script = Script(fall_silent)
    options = {"heartbeat": 0.2, "pong_timeout": 1.0, "max_retries": 0}
    async with (
        asyncio.timeout(30),
        running(script) as url,
        connect(url, config=config(**options)) as stream,
    ):
        await asyncio.sleep(0.6)  # it was asked, and has a second
        pass_asleep(HOUR)
        await asyncio.sleep(0.9)  # that is over, and another one began
        script.peers[0].connection.transport.resume_reading()
        await asyncio.sleep(1.2)
        assert (stream.state, len(script.peers)) == (State.LIVE, 1)


async def test_what_the_server_may_have_forgotten_in_sleep_is_not_sent_again(
    pass_asleep: Pass, config: Configure
) -> None:
    got: list[Any] = []

    async def keep_quiet(peer: Peer) -> None:
        await peer.greet()
        got.append(await peer.receive())
        await asyncio.sleep(0.05)
        pass_asleep(HOUR)
        peer.connection.transport.abort()

    async def listen(peer: Peer) -> None:
        await peer.greet()
        while True:
            got.append(await peer.receive())
            await peer.ack(got[-1])

    async with (
        asyncio.timeout(30),
        running(Script(keep_quiet, listen)) as url,
        connect(url, token="t", config=config()) as stream,
    ):
        with pytest.raises(UnknownOutcome):
            await stream.publish("early")
        await stream.publish("late")
    assert [message["data"] for message in got] == ["early", "late"]
