"""Clients that lost their server in the same moment come back spread out."""

import asyncio
import random
from collections.abc import Callable

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


class Stalls:
    """How long the machine held this process up, at the worst."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        """Note it, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(0.02)
            self.longest = max(self.longest, loop.time() - began - 0.02)


async def test_three_hundred_clients_come_back_spread_out_after_their_server_was_killed(
    client_project: Project,
    launch: Callable[..., Server],
    client_server: Server,
    client_token: str,
) -> None:
    """A server that is up already takes them. Where the machine itself stood still for a time,
    which makes a crowd of whoever is due, all are cut off once more."""
    count = 300
    server = launch(client_project, "serve")
    loop = asyncio.get_running_loop()
    back: list[float] = []

    def note(change: StateChange) -> None:
        if change.state is State.LIVE:
            back.append(loop.time())

    async with breaking_proxy(server.port) as proxy:
        streams = [
            connect(
                f"{proxy.ws}/ws/broadcast/crowd/",
                token=client_token,
                on_state=note,
                config=Config(
                    backoff=Backoff(base=5.0, factor=1.0), chance=random.Random(number).random
                ),
            )
            for number in range(count)
        ]
        for start in range(0, count, 50):
            await asyncio.gather(*(stream.open() for stream in streams[start : start + 50]))
        proxy.target = client_server.port
        for turn in range(4):
            back.clear()
            stalls = Stalls()
            watching = asyncio.create_task(stalls.watch())
            if turn == 0:
                await asyncio.to_thread(server.stop, kill=True)
            else:
                proxy.cut()
            async with asyncio.timeout(30):
                while len(back) < count:
                    await asyncio.sleep(0.05)
            watching.cancel()
            crowding = measure_crowding(back)
            span = max(back) - min(back)
            print(f"{count} back within {span:.1f} s, at most {crowding:.1%} in a tenth")
            if crowding <= MOST or stalls.longest < span / 40:
                break
        assert crowding <= MOST
        await asyncio.gather(*(stream.close() for stream in streams))
