"""Statistics are a view: a pure function of the publications that are retained at its cursor."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from realtime.audience import Reading
from realtime.computing import BURST_SECONDS, USER_SHARE, Computing
from realtime.conf import Kind, Namespace, get_settings
from realtime.core.entries import SAMPLES, Entry, encode_entry
from realtime.core.errors import InvalidParameter, RateLimited
from realtime.core.positions import Position
from realtime.core.samples import pack_samples
from realtime.core.topics import parse_topic
from realtime.core.windows import FIELDS, parse_window
from realtime.held_topics import HeldTopic
from realtime.history import Batch, Item
from realtime.history.memory import MemoryHistory
from realtime.hub import Hub
from realtime.layer import Layer
from realtime.limits import HeldMemory, Limit
from realtime.metrics import LIMITED
from realtime.outbox import Outbox
from realtime.pipeline import Pipeline
from realtime.statistics import (
    StatisticsSubscription,
    StatisticsView,
    close_view,
    open_view,
    read_statistics,
)
from realtime.subscriptions import Start, State, find_start
from tests.topics import Stage, settle
from tests.virtual_time import virtual_time as virtual_time

pytestmark = pytest.mark.usefixtures("virtual_time", "no_joining")

ALL = parse_window("100000")
READING = Reading(ALL, FIELDS, "user 1")
SUM = Reading(ALL, ("sum",), "user 1")


class Process:
    """What a server process has between a publication and a subscription."""

    def __init__(self, history: MemoryHistory, namespace: Namespace) -> None:
        self.namespace = namespace
        self.computing = Computing()
        self.topic = parse_topic("stats:test")
        settings, layer = get_settings(), Layer(get_settings())
        self.hub = Hub(settings=settings, layer=layer, history=history, on_control=lambda _: None)
        self.pipeline = Pipeline(settings=settings, history=history, layer=layer, hub=self.hub)

    async def hold(self) -> HeldTopic:
        return await self.hub.hold(self.topic, self.namespace)

    async def publish(self, *publications: list[float]) -> None:
        """Publish in one commit."""
        futures = []
        for values in publications:
            data = pack_samples(np.array(values, float), np.arange(len(values), dtype=float))
            body = encode_entry(Entry(SAMPLES, None, 1_700_000_000_000_000, data))
            futures.append(self.pipeline.submit(self.topic, self.namespace, Item(body)))
        await asyncio.gather(*futures)


@pytest.fixture
async def history() -> MemoryHistory:
    return MemoryHistory(get_settings())


@pytest.fixture
async def process(history: MemoryHistory) -> AsyncIterator[Process]:
    process = Process(history, Namespace(kind=Kind.STATS, history_size=5, history_bytes=700))
    yield process
    await process.pipeline.close()


class Received(list[dict[str, Any]]):
    """The messages of a subscription, as its socket gets them."""

    async def take(self, event: dict[str, Any]) -> None:
        self.append(json.loads(event["text"]) if "text" in event else event)


async def subscribe(
    held: HeldTopic, *, interval: float = 0, recover: Position | None = None
) -> tuple[Received, StatisticsSubscription]:
    received = Received()

    def fail() -> None:
        raise AssertionError("slow")

    outbox = Outbox(received.take, limit=2**20, stall_timeout=None, on_slow=fail, on_abort=fail)
    view = await open_view(held, SUM, Computing())
    start: Start = await find_start(held, recover=recover)
    subscription = StatisticsSubscription(
        held,
        outbox=outbox,
        start=start,
        interval=interval,
        view=view,
        reading=SUM,
    )
    await subscription.follow()
    await asyncio.sleep(0)
    return received, subscription


def read(view: StatisticsView) -> dict[str, Any]:
    figures = view.find(ALL, FIELDS)
    assert figures is not None
    return figures.describe(ALL, FIELDS)


async def test_a_view_opened_late_equals_one_that_followed(
    history: MemoryHistory, process: Process
) -> None:
    random = np.random.default_rng(3)
    followed = await open_view(await process.hold(), READING, process.computing)
    for _ in range(40):
        sizes = random.integers(1, 20, int(random.integers(1, 8)))
        await process.publish(*(random.normal(size=size).tolist() for size in sizes))
        other = Process(history, process.namespace)  # a process that starts now
        fresh = await open_view(await other.hold(), READING, other.computing)
        assert read(fresh) == read(followed)
        assert read(fresh)["count"] > 0


async def test_each_message_of_a_batch_shows_what_was_retained_at_its_offset(
    process: Process,
) -> None:
    received, _ = await subscribe(await process.hold())
    await process.publish(*([float(number)] for number in range(1, 21)))
    await asyncio.sleep(0.01)
    assert [message["offset"] for message in received] == list(range(1, 21))
    for message in received:
        offset = message["offset"]
        assert message["sum"] == sum(range(max(offset - 4, 1), offset + 1))


async def test_bytes_bound_what_is_retained_and_the_newest_always_stays(process: Process) -> None:
    received, _ = await subscribe(await process.hold())
    # 20 samples take a little over 320 bytes, so two of them are under 700 and three are not;
    # 100 samples alone are over.
    await process.publish([1.0] * 20, [2.0] * 20, [3.0] * 20, [4.0] * 100, [5.0])
    await asyncio.sleep(0.01)
    assert [message["count"] for message in received] == [20, 40, 40, 100, 1]


async def test_the_same_message_is_built_once_and_shared(process: Process) -> None:
    view = await open_view(await process.hold(), READING, process.computing)
    await process.publish([1.0])
    figures = view.find(ALL, ("sum",))
    assert figures is not None
    frames = figures.build_frames(ALL, ("sum",))
    assert figures.build_frames(ALL, ("sum",)) is frames
    assert figures.build_frames(ALL, ()) is not frames
    await process.publish([2.0])
    assert view.find(ALL, ("sum",)) is not figures


async def test_a_window_is_given_back_with_its_last_session(process: Process) -> None:
    held = await process.hold()
    readings = [Reading(parse_window(str(n)), (), "user 1") for n in range(1, 17)]
    for reading in (*readings, readings[0]):
        view = await open_view(held, reading, process.computing)
    with pytest.raises(InvalidParameter):
        await open_view(held, SUM, process.computing)
    close_view(view, readings[0])
    with pytest.raises(InvalidParameter):
        await open_view(held, SUM, process.computing)
    close_view(view, readings[0])
    assert await open_view(held, SUM, process.computing) is view


async def test_a_new_epoch_empties_the_view_and_what_waited_is_part_of_the_gap(
    process: Process,
) -> None:
    held = await process.hold()
    await process.publish([1.0], [2.0])
    received, subscription = await subscribe(held, interval=60)
    await process.publish([3.0])  # waits for the interval
    view = held.followers.statistics
    assert isinstance(view, StatisticsView)
    for follower in tuple(held.followers):
        follower.lose(epoch="another", next=1, reason="history_lost")
    await asyncio.sleep(0)
    snapshot, gap = received
    assert (snapshot["offset"], snapshot["sum"]) == (2, 3.0)
    assert (gap["type"], gap["epoch"], gap["after"], gap["next"]) == ("gap", "another", 2, 1)
    assert view.is_empty
    subscription.end()


async def test_offsets_that_went_back_empty_the_view_and_it_goes_on(process: Process) -> None:
    held = await process.hold()
    view = await open_view(held, READING, process.computing)
    await process.publish([1.0], [2.0], [3.0])
    view.lose(epoch=view.epoch, next=2, reason="history_lost")
    assert view.is_empty
    await process.publish([4.0])
    assert read(view)["sum"] == 4.0


async def test_what_was_trimmed_away_unseen_leaves_the_view(process: Process) -> None:
    view = await open_view(await process.hold(), READING, process.computing)
    await process.publish([1.0], [2.0])
    view.lose(epoch=view.epoch, next=5, reason="history_trimmed")
    assert (view.is_empty, view.cursor) == (True, 4)


async def test_a_topic_that_was_left_and_taken_again_has_a_whole_view(
    history: MemoryHistory, process: Process
) -> None:
    held = await process.hold()
    first = await open_view(held, READING, process.computing)
    await process.publish([1.0])
    close_view(first, READING)
    held._leave_delay = 0
    held.release()
    while held.is_ready:
        await asyncio.sleep(0)
    again = asyncio.create_task(held.hold())  # while it is being left
    await process.publish([2.0])
    await again
    assert read(await open_view(held, READING, process.computing))["sum"] == 3.0


async def test_one_who_goes_away_while_the_view_is_filled_does_not_end_it_for_others() -> None:
    stage = Stage(kind="stats")
    samples = pack_samples(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    body = encode_entry(Entry(SAMPLES, None, 0, samples))
    await stage.history.store([Batch(stage.held.topic, stage.namespace, [Item(body)])])
    await stage.held.hold()
    stage.history.gate.clear()
    one, other = (
        asyncio.create_task(open_view(stage.held, READING, Computing())) for _ in range(2)
    )
    await settle(0.005)
    one.cancel()
    await settle(0.005)
    stage.history.gate.set()
    view = await asyncio.wait_for(other, 1)
    assert (view.state, read(view)["sum"]) == (State.LIVE, 3.0)
    assert stage.held.followers.statistics is view
    assert view in stage.held.followers


async def test_a_view_that_fails_ends_those_who_read_it_and_the_next_one_is_whole(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await process.hold()
    received, subscription = await subscribe(held)
    view = held.followers.statistics
    await process.publish([1.0])
    with monkeypatch.context() as patch:
        patch.setattr(view, "_ring", None)
        await process.publish([2.0])
    await asyncio.sleep(0)
    snapshot, close = received
    assert (snapshot["sum"], close["type"], close["code"]) == (1.0, "websocket.close", 3011)
    assert subscription.has_ended
    assert not held.followers
    again = await open_view(held, READING, process.computing)
    assert again is not view
    assert read(again)["sum"] == 3.0
    await process.publish([4.0])
    assert read(again)["sum"] == 7.0


async def test_a_session_that_got_a_view_before_it_failed_is_closed(process: Process) -> None:
    held = await process.hold()
    view = await open_view(held, READING, process.computing)
    view.fail()
    received = Received()
    outbox = Outbox(received.take, limit=2**20, stall_timeout=None, on_slow=print, on_abort=print)
    subscription = StatisticsSubscription(
        held,
        outbox=outbox,
        start=await find_start(held),
        interval=0,
        view=view,
        reading=SUM,
    )
    await asyncio.wait_for(subscription.follow(), 1)
    await asyncio.sleep(0)
    assert [event["code"] for event in received] == [3011]


async def test_samples_of_all_topics_are_bounded_and_those_go_whose_reader_has_most(
    process: Process,
) -> None:
    process.namespace = Namespace(kind=Kind.STATS)
    process.computing = Computing(HeldMemory(per_process=200_000, limit=Limit.STATISTICS))
    before = LIMITED.labels(Limit.STATISTICS)._value.get()
    views, closes = [], []
    for name, user in (("a", "user 1"), ("b", "user 2"), ("c", "user 1")):
        process.topic = parse_topic(f"stats:{name}")
        held = await process.hold()
        reading = Reading(ALL, ("sum",), user)
        view = await open_view(held, reading, process.computing)
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
        await process.publish([1.0] * 1500)
        await asyncio.sleep(0.1)
        views.append(view)
        closes.append(received)
    assert [view.has_ended for view in views] == [True, False, False]
    (close,) = [event for event in closes[0] if event.get("type") == "websocket.close"]
    assert close["code"] == 3013
    assert LIMITED.labels(Limit.STATISTICS)._value.get() == before + 1
    process.topic = parse_topic("stats:a")
    again = await open_view(await process.hold(), READING, process.computing)
    assert read(again)["sum"] == 1500.0  # whoever comes back has all of it
    assert [view.has_ended for view in views] == [True, False, True]


# Without a session


async def test_reading_topics_that_nobody_has_published_to_holds_none_of_them(
    history: MemoryHistory, process: Process
) -> None:
    for number in range(20):
        topic = parse_topic(f"stats:empty-{number}")
        message = await read_statistics(
            process.hub, process.computing, history, process.namespace, topic, READING
        )
        assert (message["count"], message["server_time"]) == (0, None)
        assert process.hub.find_position(topic) is None


async def test_who_has_used_up_the_share_is_told_to_come_later(
    history: MemoryHistory, process: Process
) -> None:
    await process.publish([1.0, 2.0])

    async def read_as(user: str, window: str) -> dict[str, Any]:
        reading = Reading(parse_window(window), ("median",), user)
        return await read_statistics(
            process.hub, process.computing, history, process.namespace, process.topic, reading
        )

    process.computing.charge(USER_SHARE * (BURST_SECONDS + 3), ["user 1"])
    assert (await read_as("user 2", "5"))["median"] == 1.5
    assert (await read_as("user 1", "5"))["median"] == 1.5  # as that is known already
    with pytest.raises(RateLimited, match="ask for a shorter window"):
        await read_as("user 1", "6")
    await asyncio.sleep(1.5)
    assert (await read_as("user 1", "6"))["median"] == 1.5
    held = await process.hold()
    assert len(held.followers.statistics.audience) == 0  # type: ignore[union-attr]
