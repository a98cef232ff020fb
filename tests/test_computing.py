"""Statistics take their share of the processor and no more, and long work is done in a thread."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from realtime.audience import Reading
from realtime.computing import BURST_SECONDS, PROCESS_SHARE, USER_SHARE, Budget, Computing, Scratch
from realtime.conf import Kind, Namespace, get_settings
from realtime.core.entries import SAMPLES, Entry, encode_entry
from realtime.core.sample_ring import SampleRing
from realtime.core.samples import pack_samples
from realtime.core.topics import parse_topic
from realtime.core.windows import FIELDS, parse_window
from realtime.history import Item
from realtime.history.memory import MemoryHistory
from realtime.hub import Hub
from realtime.layer import Layer
from realtime.outbox import Outbox
from realtime.pipeline import Pipeline
from realtime.statistics import StatisticsSubscription, open_view
from realtime.subscriptions import find_start
from tests.topics import wait_until

USERS = ["user 1"]


def test_a_budget_that_was_full_gives_its_burst_and_then_its_share() -> None:
    budget = Budget()
    budget.spend(0.1 * BURST_SECONDS, share=0.1, now=100.0)
    assert budget.find_delay(100.0) == 0
    budget.spend(0.01, share=0.1, now=100.0)
    assert budget.find_delay(100.0) == pytest.approx(0.1)
    assert budget.find_delay(100.2) == 0
    assert not budget.is_full(101.9)
    assert budget.is_full(102.2)


async def test_one_user_may_wait_while_another_does_not_and_the_process_bounds_both() -> None:
    computing, budget = Computing(), Budget()
    now = asyncio.get_running_loop().time()
    computing.charge(USER_SHARE * (BURST_SECONDS + 2), ["user 1"])
    assert computing.find_delay(budget, ["user 1"], now) > 1
    assert computing.find_delay(budget, ["user 2"], now) == 0
    assert computing.find_delay(budget, ["user 1", "user 2"], now) == 0  # the other one may
    computing.charge(PROCESS_SHARE * (BURST_SECONDS + 1), [f"user {n}" for n in range(100, 200)])
    assert computing.find_delay(budget, ["user 2"], now) > 0.5


class Client:
    """Wants one thing computed, in a thread."""

    def __init__(self, order: list[str], name: str, delay: float = 0) -> None:
        self.order, self.name, self.delay = order, name, delay
        self.results: list[Any] = []
        self.gate = threading.Event()

    def find_delay(self, now: float) -> float:
        delay, self.delay = self.delay, 0.0
        return delay

    def begin(self, scratch: Scratch) -> Callable[[], str]:
        self.order.append(self.name)

        def work() -> str:
            assert self.gate.wait(10)
            assert len(scratch.values) == len(scratch.samples[0])
            return threading.current_thread().name

        return work

    def finish(self, result: Any) -> None:
        self.results.append(result)


async def test_who_asked_first_comes_first_and_two_threads_work_at_a_time() -> None:
    computing, order = Computing(), []
    clients = [Client(order, name) for name in "abcd"]
    late = Client(order, "late", delay=0.05)
    for client in (clients[0], late, *clients[1:]):
        computing.ask(client)
        computing.ask(client)  # once is enough
    await wait_until(lambda: len(order) == 2)
    assert order == ["a", "b"]
    for client in (*clients, late):
        client.gate.set()
    await wait_until(lambda: all(client.results for client in (*clients, late)))
    assert sorted(order) == ["a", "b", "c", "d", "late"]
    assert {r.partition("_")[0] for c in clients for r in c.results} == {"statistics"}
    assert len(computing._scratches) <= 3  # memory is used again
    computing.close()


# Views under load


class Received(list[dict[str, Any]]):
    async def take(self, event: dict[str, Any]) -> None:
        self.append(json.loads(event["text"]))


class Stage:
    """A topic with its publications, as they were."""

    def __init__(self) -> None:
        self.history = MemoryHistory(get_settings())
        layer, settings = Layer(get_settings()), get_settings()
        self.hub = Hub(
            settings=settings, layer=layer, history=self.history, on_control=lambda _: None
        )
        self.pipeline = Pipeline(settings=settings, history=self.history, layer=layer, hub=self.hub)
        self.namespace = Namespace(kind=Kind.STATS, history_size=200, slow="latest")
        self.topic = parse_topic("stats:test")
        self.computing = Computing()
        self.published: list[tuple[np.ndarray, np.ndarray]] = []

    async def publish(self, size: int) -> None:
        number = len(self.published)
        values = np.random.default_rng(number).normal(size=size)
        times = 1000.0 + number + np.arange(size) / size
        self.published.append((values, times))
        body = encode_entry(Entry(SAMPLES, None, 0, pack_samples(values, times)))
        await self.pipeline.submit(self.topic, self.namespace, Item(body))

    async def subscribe(self, window: str, *, user: str = "user 1") -> Received:
        held = await self.hub.hold(self.topic, self.namespace)
        reading = Reading(parse_window(window), FIELDS, user)
        view = await open_view(held, reading, self.computing)
        received = Received()
        outbox = Outbox(
            received.take, limit=2**20, stall_timeout=None, on_slow=print, on_abort=print
        )
        subscription = StatisticsSubscription(
            held,
            outbox=outbox,
            start=await find_start(held),
            interval=0,
            view=view,
            reading=reading,
        )
        await subscription.follow()
        return received

    def check(self, message: dict[str, Any]) -> None:
        """The message says what is true of the publications up to its offset."""
        ring, offset = SampleRing(), message["offset"]
        for number, (values, times) in enumerate(self.published[:offset], 1):
            ring.append(number, values, times)
        ring.evict_before(max(offset - self.namespace.history_size, 0) + 1)
        expected = ring.summarise(parse_window(message["window"]), FIELDS)
        assert {name: message[name] for name in expected} == expected


def check_offsets(received: Received, *, last: int) -> None:
    """Each publication was sent, or counted in `skipped`."""
    known = 0
    for message in received:
        known += 1 + message.get("skipped", 0)
        assert message["offset"] == known
    assert known == last


async def test_long_windows_are_computed_in_threads_skip_and_are_right_at_their_offset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("realtime.statistics.LOOP_SECONDS", 0.0)  # everything is long
    stage = Stage()
    streams = [await stage.subscribe(window) for window in ("100000", "20", "3s", "1h")]
    for number in range(150):
        await stage.publish(1 + 400 * (number % 3))
        if number % 10 == 0:
            await asyncio.sleep(0.01)
    await wait_until(lambda: have_come(streams, 150), timeout=30)
    for received in streams:
        assert 1 < len(received) < 150
        for message in received:
            stage.check(message)
        check_offsets(received, last=150)
    await stage.pipeline.close()
    stage.computing.close()


def have_come(streams: list[Received], offset: int) -> bool:
    return all(received and received[-1]["offset"] == offset for received in streams)


async def test_a_share_that_is_used_up_widens_the_pushes_of_that_window_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage()
    long = await stage.subscribe("100000")
    short = await stage.subscribe("5", user="user 2")
    view = (await stage.hub.hold(stage.topic, stage.namespace)).followers.statistics
    await stage.publish(10)
    now = asyncio.get_running_loop().time()
    window = parse_window("100000")
    view._budgets[window].spend(1000.0, share=1.0, now=now)  # it took that long
    for _ in range(20):
        await stage.publish(10)
    await wait_until(lambda: have_come([short], 21))
    check_offsets(short, last=21)
    assert [message["offset"] for message in long] == [1]
    view._budgets[window] = Budget()
    stage.computing._wake(0)
    await wait_until(lambda: have_come([long], 21))
    assert long[-1]["skipped"] == 19
    stage.check(long[-1])
    await stage.pipeline.close()


async def test_a_long_history_is_read_in_short_goes() -> None:
    stage = Stage()
    for _ in range(200):
        await stage.publish(200)
    turns = 0
    sleep = asyncio.sleep

    async def count(delay: float) -> None:
        nonlocal turns
        turns += 1
        await sleep(delay)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("realtime.turns.TURN_SECONDS", 0.0)
        patch.setattr("realtime.turns.asyncio.sleep", count)
        received = await stage.subscribe("100000")
    assert turns >= 200
    await wait_until(lambda: bool(received))
    stage.check(received[0])
    await stage.pipeline.close()


async def test_figures_of_a_past_that_was_lost_meanwhile_are_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("realtime.statistics.LOOP_SECONDS", 0.0)
    stage = Stage()
    received = await stage.subscribe("100")
    view = (await stage.hub.hold(stage.topic, stage.namespace)).followers.statistics
    task = None

    def hold_back(client: Any) -> None:
        nonlocal task
        task = client.begin(Scratch())

    monkeypatch.setattr(stage.computing, "_begin", hold_back)
    await stage.publish(3)
    await wait_until(lambda: task is not None)
    study = task()
    for follower in tuple(view.held.followers):
        follower.lose(epoch="another", next=1, reason="history_lost")
    view.finish(study)
    await asyncio.sleep(0)
    assert [message["type"] for message in received] == ["gap"]

    await stage.pipeline.close()
