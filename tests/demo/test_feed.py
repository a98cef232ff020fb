"""Publishing the machine's metrics: demo/feed.py."""

import asyncio
import json
import logging
import platform
from collections import Counter

import numpy as np
import pytest

import realtime
from demo.feed import Feed, next_tick, publish_host_metrics
from demo.host import Sample

HIGH = Sample(cores=(100.0, 96.0), load=1.5, memory=40.0, network=1000.0, disk=20.0)


class FakeSampler:
    """A machine that is always as busy as this."""

    def read(self) -> Sample:
        return HIGH


class FakePublish:
    """Records what is published; `fail` says with which error it answers instead."""

    def __init__(self):
        self.published = []
        self.tried = []
        self.fail = None

    async def __call__(self, topic, data, *, id=None):
        self.tried.append((topic, id))
        if self.fail:
            raise self.fail
        self.published.append((topic, data))

    def on(self, topic):
        return [data for name, data in self.published if name == topic]


@pytest.fixture
def publish():
    return FakePublish()


@pytest.fixture
def feed(publish):
    return Feed(FakeSampler(), publish)


async def test_each_tick_publishes_every_metric_once(feed, publish):
    await feed.tick(0.1)
    publish.published.clear()
    await feed.tick(0.2)
    published = dict(publish.published)
    pond = published.pop("arrays:pond")
    assert (pond.shape, pond.dtype) == ((60, 96), np.float32)
    assert published == {
        "stats:host.cpu": 98,
        "stats:host.load": 1.5,
        "stats:host.memory": 40,
        "stats:host.network": 1000,
        "stats:host.disk": 20,
        "stats:host.cpu.0": 100,
        "stats:host.cpu.1": 96,
    }


async def test_the_array_of_the_last_five_minutes_goes_out_once_a_second(feed, publish):
    for tick in range(1, 31):
        await feed.tick(tick * 0.1)
    arrays = publish.on("arrays:host.cpu")
    assert len(arrays) == 3
    assert all(array.shape == (2, 300) and array.dtype == np.float32 for array in arrays)
    assert arrays[-1][:, -4:].tolist() == [[0, 100, 100, 100], [0, 96, 96, 96]]


async def test_seconds_that_were_missed_still_have_their_columns(feed, publish):
    await feed.tick(1)
    await feed.tick(4.2)
    assert np.count_nonzero(publish.on("arrays:host.cpu")[-1][0]) == 4


async def test_the_first_event_describes_the_machine_without_its_name(feed, publish):
    await feed.tick(0.1)
    [event] = publish.on("broadcast:host.events")
    assert event["kind"] == "feed_started"
    assert event["cores"] >= 1
    assert event["memory_bytes"] > 0
    assert platform.node() not in json.dumps(event)


async def test_notable_changes_are_published_as_events(feed, publish):
    for second in range(1, 10):
        await feed.tick(second)
    assert [event["kind"] for event in publish.on("broadcast:host.events")] == [
        "feed_started",
        "cpu_high",
    ]


async def test_an_outage_is_logged_once_at_its_start_and_once_at_its_end(feed, publish, caplog):
    caplog.set_level(logging.INFO, logger="demo.feed")
    await feed.tick(0.1)
    publish.fail = realtime.errors.Unavailable("Redis does not answer")
    await feed.tick(0.2)
    await feed.tick(0.3)
    publish.fail = None
    await feed.tick(0.4)
    await feed.tick(0.5)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "The feed cannot publish and keeps trying: Redis does not answer"),
        ("INFO", "The feed publishes again."),
    ]


async def test_after_an_outage_events_are_sent_again_under_their_id_and_samples_are_not(
    feed, publish
):
    publish.fail = realtime.errors.Unavailable("not confirmed")
    await feed.tick(0.1)
    publish.fail = None
    await feed.tick(0.2)
    ids = [id for topic, id in publish.tried if topic == "broadcast:host.events"]
    assert len(ids) == 2
    assert ids[0] == ids[1] is not None
    assert Counter(topic for topic, _ in publish.published)["stats:host.cpu"] == 1


async def test_any_other_error_ends_the_feed(feed, publish):
    publish.fail = realtime.errors.NotRunning("nobody could hear this")
    with pytest.raises(realtime.errors.NotRunning):
        await feed.tick(0.1)


def test_ticks_stay_on_the_grid_of_the_first_one_however_late_they_are():
    late = [100.0, 100.137, 100.2, 100.999]
    assert [round(next_tick(100, 0.1, now), 6) for now in late] == [100.1, 100.2, 100.3, 101.0]


def test_no_tick_comes_twice_and_none_is_left_out_by_rounding():
    now, ticks = 1234.567, 0
    while now < 1234.567 + 99.95:
        due = next_tick(1234.567, 0.1, now)
        assert due > now
        now, ticks = due, ticks + 1
    assert ticks == 1000


@pytest.mark.parametrize("interval", [0, -1, 1.5, float("nan")])
async def test_an_interval_that_is_no_part_of_a_second_is_refused(interval):
    with pytest.raises(ValueError, match="interval"):
        await publish_host_metrics(interval=interval)


async def test_the_feed_runs_on_this_machine_until_it_is_cancelled():
    seen = asyncio.Event()

    async def publish(topic, data, *, id=None):
        if topic == "stats:host.cpu":
            seen.set()

    feed = asyncio.create_task(publish_host_metrics(interval=0.01, publish=publish))
    await asyncio.wait_for(seen.wait(), 30)
    feed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await feed
