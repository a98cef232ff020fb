"""The pool keeps count, whatever fails or is given up, and lends fairly."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from realtime_client import (
    Ack,
    Backoff,
    Config,
    ConnectionEnded,
    ConnectionLost,
    Pool,
    PoolClosed,
    PoolExhausted,
    State,
    UnknownOutcome,
    connect,
)
from tests.breaking_proxy import breaking_proxy
from tests.servers import Server

Url = Callable[[str], str]


class FakeStream:
    """What a pool sees of a stream."""

    def __init__(self) -> None:
        self.state = State.LIVE
        self.ended: ConnectionEnded | None = None
        self.hello = None
        self.pings = 0
        self.ping_error: Exception | None = None
        self.closed = 0

    async def ping(self, *, timeout: float) -> float:
        self.pings += 1
        await asyncio.sleep(0)
        if self.ping_error is not None:
            raise self.ping_error
        return 0.001

    async def close(self) -> None:
        self.closed += 1
        self.state = State.CLOSED

    def break_off(self, retry_after: float | None = None) -> None:
        self.state = State.CLOSED
        self.ended = ConnectionEnded(1012, "restart", retry_after)


class Factory:
    """Opens fake streams; `errors` are raised first, `gate` holds the opening up."""

    def __init__(self) -> None:
        self.made: list[FakeStream] = []
        self.errors: list[Exception] = []
        self.gate: asyncio.Event | None = None

    async def __call__(self) -> Any:
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        self.made.append(FakeStream())
        return self.made[-1]

    @property
    def open(self) -> int:
        return sum(stream.state is State.LIVE for stream in self.made)


@pytest.fixture
def factory() -> Factory:
    return Factory()


def build_pool(factory: Factory, **options: Any) -> Pool:
    """A pool of fakes: two, and one more."""
    return Pool("ws://a/", open_stream=factory, **{"size": 2, "max_overflow": 1, **options})


@contextmanager
def impatient(pool: Pool) -> Iterator[None]:
    """Whoever asks within the block waits for 20 ms only.

    Not for the whole test: a busy machine may take longer to do what has to succeed.
    """
    patience, pool._acquire_timeout = pool._acquire_timeout, 0.02
    yield
    pool._acquire_timeout = patience


async def test_a_connection_is_lent_again_and_again(factory: Factory) -> None:
    async with build_pool(factory) as pool:
        for _ in range(5):
            async with pool.connection():
                assert (pool.counts.in_use, pool.counts.idle) == (1, 0)
        assert len(factory.made) == 1
        assert (pool.counts.in_use, pool.counts.idle) == (0, 1)
    assert factory.open == 0


async def test_what_overflows_is_closed_when_it_comes_back(factory: Factory) -> None:
    async with build_pool(factory) as pool:
        streams = [await pool.acquire() for _ in range(3)]
        assert pool.counts.in_use == 3
        for stream in streams:
            pool.release(stream)
        await asyncio.sleep(0.01)
        assert (pool.counts.in_use, pool.counts.idle, factory.open) == (0, 2, 2)


async def test_an_overflow_that_somebody_waits_for_is_handed_over_and_closed_later(
    factory: Factory,
) -> None:
    async with build_pool(factory) as pool:
        streams = [await pool.acquire() for _ in range(3)]
        waiting = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0)
        pool.release(streams[0])
        assert await waiting is streams[0]
        assert len(factory.made) == 3
        for stream in streams:
            pool.release(stream)
        await asyncio.sleep(0.01)
        assert factory.open == 2


async def test_an_exhausted_pool_tells_its_counts(factory: Factory) -> None:
    async with build_pool(factory) as pool:
        streams = [await pool.acquire() for _ in range(3)]
        with impatient(pool):
            other = asyncio.create_task(pool.acquire())
            with pytest.raises(PoolExhausted, match="3 of 3 in use, 0 idle") as exhausted:
                await pool.acquire()
            error = exhausted.value
            assert (error.in_use, error.idle, error.limit) == (3, 0, 3)
            assert isinstance(error, TimeoutError)
            with pytest.raises(PoolExhausted):
                await other
        assert pool.counts.waiting == 0
        pool.release(streams.pop())
        streams.append(await pool.acquire())
        for stream in streams:
            pool.release(stream)


async def test_waiting_is_first_come_first_served(factory: Factory) -> None:
    order: list[int] = []
    async with build_pool(factory, size=1, max_overflow=0) as pool:

        async def work(number: int) -> None:
            async with pool.connection():
                order.append(number)
                await asyncio.sleep(0)

        tasks = []
        for number in range(20):
            tasks.append(asyncio.create_task(work(number)))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
    assert order == list(range(20))


async def test_a_failed_connect_does_not_lose_count(factory: Factory) -> None:
    async with build_pool(factory) as pool:
        factory.errors = [ConnectionEnded(4502, "invalid token") for _ in range(10)]
        for _ in range(10):
            with pytest.raises(ConnectionEnded):
                await pool.acquire()
        streams = [await pool.acquire() for _ in range(3)]
        assert pool.counts.in_use == 3
        for stream in streams:
            pool.release(stream)


async def test_a_connect_that_takes_too_long_does_not_lose_count(factory: Factory) -> None:
    async with build_pool(factory) as pool:
        factory.gate = asyncio.Event()
        with impatient(pool):
            for _ in range(4):
                with pytest.raises(ConnectionLost, match="no connection within"):
                    await pool.acquire()
        factory.gate.set()
        streams = [await pool.acquire() for _ in range(3)]
        for stream in streams:
            pool.release(stream)


async def test_giving_up_while_waiting_does_not_lose_count(factory: Factory) -> None:
    async with build_pool(factory, size=1, max_overflow=0) as pool:
        stream = await pool.acquire()
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert pool.counts.waiting == 0
        pool.release(stream)
        assert await pool.acquire() is stream
        pool.release(stream)


async def test_giving_up_while_connecting_does_not_lose_count(factory: Factory) -> None:
    async with build_pool(factory, size=1, max_overflow=0) as pool:
        factory.gate = asyncio.Event()
        connecting = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        factory.gate.set()
        pool.release(await pool.acquire())


@pytest.mark.parametrize("steps", range(4))
async def test_giving_up_at_the_moment_of_the_handover_passes_it_on(
    factory: Factory, steps: int
) -> None:
    async with build_pool(factory, size=1, max_overflow=0) as pool:
        stream = await pool.acquire()
        first = asyncio.create_task(pool.acquire())
        second = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0)
        pool.release(stream)
        for _ in range(steps):
            await asyncio.sleep(0)
        first.cancel()
        [got] = await asyncio.gather(first, return_exceptions=True)
        if got is stream:  # it was quicker than the cancellation
            pool.release(stream)
        assert await second is stream
        pool.release(stream)
        assert (pool.counts.in_use, pool.counts.idle) == (0, 1)


async def test_giving_back_twice_is_a_mistake_that_changes_nothing(factory: Factory) -> None:
    async with build_pool(factory, size=1, max_overflow=0) as pool:
        stream = await pool.acquire()
        pool.release(stream)
        with pytest.raises(ValueError, match="given back already"):
            pool.release(stream)
        other = await pool.acquire()
        with impatient(pool), pytest.raises(PoolExhausted):
            await pool.acquire()
        pool.release(other)


async def test_a_broken_connection_is_replaced(factory: Factory) -> None:
    async with build_pool(factory) as pool:
        async with pool.connection():
            factory.made[0].break_off()
        assert pool.counts.idle == 0
        async with pool.connection() as stream:
            assert stream is factory.made[1]
        factory.made[1].break_off()  # while it is idle
        async with pool.connection() as stream:
            assert stream is factory.made[2]
        assert factory.made[0].closed == factory.made[1].closed == 1


async def test_a_connection_that_was_idle_for_long_is_pinged_before_it_is_lent(
    factory: Factory,
) -> None:
    async with build_pool(factory, check_after=0.0) as pool:
        async with pool.connection():
            pass
        async with pool.connection():
            pass
        assert (len(factory.made), factory.made[0].pings) == (1, 1)
        factory.made[0].ping_error = TimeoutError()
        async with pool.connection() as stream:
            assert stream is factory.made[1]
        await asyncio.sleep(0)
        assert factory.made[0].state is State.CLOSED


async def test_one_that_was_used_just_now_is_not_pinged(factory: Factory) -> None:
    async with build_pool(factory) as pool:
        for _ in range(2):
            async with pool.connection():
                pass
        assert factory.made[0].pings == 0


async def test_giving_up_during_the_check_does_not_leak_the_connection(factory: Factory) -> None:
    async with build_pool(factory, check_after=0.0) as pool:
        async with pool.connection():
            pass
        checking = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0)
        assert factory.made[0].pings == 1
        checking.cancel()
        await asyncio.gather(checking, return_exceptions=True)
        await asyncio.sleep(0.01)
        assert factory.open == pool.counts.idle == 0


async def test_an_exception_in_the_block_gives_the_connection_back(factory: Factory) -> None:
    async with build_pool(factory) as pool:
        with pytest.raises(KeyError):
            async with pool.connection():
                raise KeyError("mine")
        assert (pool.counts.in_use, pool.counts.idle) == (0, 1)


async def test_closing_waits_for_what_is_in_use_and_turns_the_others_away(
    factory: Factory,
) -> None:
    pool = build_pool(factory, size=1, max_overflow=0)
    stream = await pool.acquire()
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(3)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(pool.close())
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [PoolClosed] * 3
    assert not closing.done()
    assert stream.state is State.LIVE
    pool.release(stream)
    await closing
    assert factory.open == 0
    with pytest.raises(PoolClosed):
        await pool.acquire()
    await pool.close()


async def test_closing_cuts_what_does_not_come_back(factory: Factory) -> None:
    pool = build_pool(factory)
    stream = await pool.acquire()
    await pool.close(timeout=0.01)
    assert factory.open == 0
    pool.release(stream)
    assert (pool.counts.in_use, pool.counts.idle) == (0, 0)


async def test_a_connection_that_opens_while_the_pool_closes_is_closed(factory: Factory) -> None:
    pool = build_pool(factory)
    factory.gate = asyncio.Event()
    opening = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0)
    factory.gate.set()
    with pytest.raises(PoolClosed):
        await opening
    await closing
    assert factory.open == 0


async def test_chance_cannot_make_it_lose_count(factory: Factory) -> None:
    """500 workers that connect, fail, break, give up and wait, in every order."""
    dice = random.Random(7)
    pool = build_pool(factory, size=3, max_overflow=2, acquire_timeout=0.05, check_after=0.0)

    async def work() -> None:
        async with asyncio.timeout(dice.uniform(0, 0.05)), pool.connection() as stream:
            assert pool.counts.in_use <= 5
            assert factory.open <= 5 + 3
            await asyncio.sleep(dice.uniform(0, 0.004))
            if dice.random() < 0.2:
                stream.break_off()  # type: ignore[attr-defined]
            if dice.random() < 0.2:
                raise KeyError("mine")

    for _ in range(5):
        factory.errors = [ConnectionLost(1006) for _ in range(10)]
        tasks = [asyncio.create_task(work()) for _ in range(100)]
        for task in dice.sample(tasks, 20):
            await asyncio.sleep(0)
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        kinds = (TimeoutError, KeyError, ConnectionLost, asyncio.CancelledError, type(None))
        assert all(isinstance(result, kinds) for result in results), results
    assert (pool.counts.in_use, pool.counts.waiting) == (0, 0)
    assert pool.counts.idle <= 3
    factory.errors = []  # whoever gave up early has left some
    pool._acquire_timeout = 30.0
    streams = [await pool.acquire() for _ in range(5)]  # every place is there still
    for stream in streams:
        pool.release(stream)
    await pool.close()
    assert factory.open == 0


# Publications

ACK = {"ref": 1, "topic": "t", "duplicate": False}


class PublishingStream(FakeStream):
    """Gives an outcome for each publication."""

    def __init__(self, outcomes: list[Ack | Exception]) -> None:
        super().__init__()
        self.subscribed = None
        self.outcomes = outcomes
        self.published: list[str | None] = []

    async def publish(self, data: Any, *, id: str | None = None) -> Ack:
        self.published.append(id)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.mark.parametrize(("epoch", "repeats"), [("e", True), (None, False), ("unknown", True)])
async def test_a_publication_is_repeated_unless_an_ack_has_told_of_no_history(
    epoch: str | None, repeats: bool
) -> None:
    good = Ack(offset=1, epoch="e", **ACK)
    first: list[Ack | Exception] = [] if epoch == "unknown" else [replace(good, epoch=epoch)]
    stream = PublishingStream([*first, UnknownOutcome("i", "it broke"), good])

    async def open_stream() -> Any:
        return stream

    config = Config(backoff=Backoff(base=0.01, cap=0.01))
    async with Pool("ws://a/", open_stream=open_stream, config=config) as pool:
        for _ in first:
            await pool.publish(0)
        if repeats:
            assert await pool.publish(1) is good
            assert stream.published[-1] == stream.published[-2]
        else:
            with pytest.raises(UnknownOutcome):
                await pool.publish(1)


# Against the real server


async def test_the_time_that_the_server_names_is_honoured(url: Url) -> None:
    pool = Pool(url("open"), acquire_timeout=30)
    loop = asyncio.get_running_loop()
    stream = FakeStream()
    stream.break_off(retry_after=0.3)
    pool._in_use.add(stream)  # type: ignore[arg-type]
    await pool._permits.acquire()
    began = loop.time()
    pool.release(stream)  # type: ignore[arg-type]
    async with pool.connection():
        assert loop.time() - began >= 0.29
    await pool.close()


async def test_fifty_workers_and_connections_that_break_lose_nothing(
    url: Url, client_server: Server, client_token: str, config: Callable[..., Config]
) -> None:
    """Each publishes and asks for arrays; all of it is done once, and the counts are right."""
    dice = random.Random(11)
    async with breaking_proxy(client_server.port) as proxy:
        addresses = [
            url(kind).replace(client_server.ws, proxy.ws) for kind in ("broadcast", "arrays")
        ]
        options: Any = {"token": client_token, "acquire_timeout": 60, "config": config()}
        async with Pool(addresses[0], **options) as pool, Pool(addresses[1], **options) as arrays:
            cutting = asyncio.create_task(proxy.cut_at_random(dice, every=0.05))

            async def work(number: int) -> None:
                for step in range(10):
                    ack = await pool.publish([number, step])
                    assert ack.offset
                    if step % 5 == 0:
                        assert (await arrays.request((2, number + 1))).shape == (2, number + 1)
                    if step == number % 10:
                        proxy.cut(1, dice)  # however fast or slow the machine is

            async with asyncio.timeout(90):
                await asyncio.gather(*(work(number) for number in range(50)))
            cutting.cancel()
            await asyncio.gather(cutting, return_exceptions=True)
            for each in (pool, arrays):
                assert (each.counts.in_use, each.counts.waiting) == (0, 0)
                assert each.counts.idle <= 5
            page_count = await count_once(url("broadcast"), client_token)
            assert page_count == 500
            assert proxy.cuts > 10
        async with asyncio.timeout(30):
            while proxy.open:  # no connection is left behind
                await asyncio.sleep(0.01)


async def count_once(address: str, token: str) -> int:
    """How many publications there are, none of which stands there twice."""
    async with connect(address, token=token, subscribe=False) as stream:
        page = await stream.history(limit=1000)
    values = [tuple(item.data) for item in page.publications]  # type: ignore[union-attr]
    assert len(set(values)) == len(values)
    return len(values)
