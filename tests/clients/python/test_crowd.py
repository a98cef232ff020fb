"""Clients that lost their server in the same moment come back spread out."""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from statistics import median

import pytest

from realtime_client import Backoff, Config, State, StateChange, connect
from tests.breaking_proxy import breaking_proxy
from tests.servers import Project, Server

MOST = 0.15  # of all clients, in any tenth of the time in which they come back


def measure_crowding(times: list[float]) -> float:
    """The share of all in the fullest tenth of the span."""
    first, last = min(times), max(times)
    tenths = [0] * 10
    for time in times:
        tenths[min(int((time - first) / (last - first) * 10), 9)] += 1
    return max(tenths) / len(times)


def test_a_crowd_in_step_is_seen_as_one() -> None:
    """The measure itself: all of one beat, and the jitter of the first delay alone."""
    assert measure_crowding([1.0] * 99 + [2.0]) > 0.9


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("attempt", [0, 1, 5, 30])
def test_a_thousand_delays_are_spread_out_at_each_attempt(seed: int, attempt: int) -> None:
    backoff, dice = Backoff(), random.Random(seed)
    delays = [backoff.delay(attempt, dice.random()) for _ in range(1000)]
    assert measure_crowding(delays) <= MOST
    assert max(delays) <= backoff.bound(attempt)


def test_a_thousand_clients_never_fall_into_step_however_often_they_fail() -> None:
    """Their times add up; the fullest second gets no fuller with each attempt."""
    backoff, dice = Backoff(), random.Random(3)
    times = [0.0] * 1000
    fullest = []
    for attempt in range(8):
        times = [time + backoff.delay(attempt, dice.random()) for time in times]
        fullest.append(max(sum(s <= time < s + 1 for time in times) for s in range(60)))
    assert fullest == sorted(fullest, reverse=True)
    assert fullest[-1] < 250


async def test_three_hundred_clients_come_back_spread_out_after_their_server_was_killed(
    client_project: Project,
    launch: Callable[..., Server],
    client_server: Server,
    client_token: str,
) -> None:
    """A server that is up already takes them. What counts is when each of them sets out, by the
    clock of its event loop: how long a busy machine then takes is not up to them."""
    count = 300
    server = launch(client_project, "serve")
    loop = asyncio.get_running_loop()
    lost: dict[int, tuple[float, float]] = {}  # when each client lost its server, and its delay
    due: dict[int, float] = {}  # when the loop came to what was due after the same delay
    set_out: dict[int, float] = {}

    def note(number: int, change: StateChange) -> None:
        if change.state is State.WAITING:
            assert change.delay is not None
            if number not in lost:
                lost[number] = loop.time(), change.delay
                loop.call_later(change.delay, lambda: due.setdefault(number, loop.time()))
        elif change.state is State.CONNECTING:
            set_out.setdefault(number, loop.time())

    async with breaking_proxy(server.port) as proxy:
        streams = [
            connect(
                f"{proxy.ws}/ws/broadcast/crowd/",
                token=client_token,
                on_state=partial(note, number),
                config=Config(
                    backoff=Backoff(base=2.0, factor=1.0), chance=random.Random(number).random
                ),
            )
            for number in range(count)
        ]
        for start in range(0, count, 50):
            await asyncio.gather(*(stream.open() for stream in streams[start : start + 50]))
        for each in (lost, due, set_out):
            each.clear()  # a busy machine may have needed more than one attempt for some
        proxy.target = client_server.port
        await asyncio.to_thread(server.stop, kill=True)
        async with asyncio.timeout(90):
            while len(lost) < count or any(s.state is not State.LIVE for s in streams):
                await asyncio.sleep(0.05)
        assert all(set_out[n] - when >= delay - 0.01 for n, (when, delay) in lost.items())
        assert median(abs(set_out[n] - due[n]) for n in range(count)) < 0.2
        crowding = measure_crowding([delay for _, delay in lost.values()])
        print(f"{count} set out within {max(set_out.values()) - min(set_out.values()):.1f} s")
        assert crowding <= MOST
        await asyncio.gather(*(stream.close() for stream in streams))
