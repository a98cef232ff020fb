"""The hub: topics of this process, what the layer brings, and the check that heals it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from realtime import hub as hub_module
from realtime.conf import build_settings
from realtime.core.errors import Unavailable
from realtime.core.positions import Position
from realtime.core.topics import Topic
from realtime.history import Accepted, Batch, Item
from realtime.history.memory import MemoryHistory
from realtime.hub import Hub
from tests.topics import (
    TOPIC,
    FakeLayer,
    Listener,
    WatchedHistory,
    build_body,
    build_namespace,
    settle,
    wait_until,
)
from tests.virtual_time import virtual_time as virtual_time

pytestmark = pytest.mark.usefixtures("virtual_time")


class Office:
    """A hub with its layer and history; time between checks is short."""

    def __init__(self, **options: Any) -> None:
        self.layer = FakeLayer()
        self.history = WatchedHistory()
        self.control: list[dict[str, Any]] = []
        self.namespace = build_namespace()
        self.hub = Hub(
            settings=build_settings(options),
            layer=self.layer,  # type: ignore[arg-type]
            history=self.history,
            on_control=self.control.append,
        )

    async def listen(self, topic: Topic = TOPIC, **options: Any) -> Listener:
        namespace = build_namespace(**options) if options else self.namespace
        held = await self.hub.hold(topic, namespace)
        listener = Listener()
        held.followers.add(listener)
        return listener

    async def append(self, topic: Topic = TOPIC) -> Accepted:
        top = (await MemoryHistory.read_tops(self.history, [topic]))[0].offset
        batch = Batch(topic, self.namespace, [Item(build_body(top + 1))])
        (result,) = await self.history.store([batch])
        assert isinstance(result, Accepted)
        return result

    def send(self, result: Accepted, topic: str = str(TOPIC)) -> None:
        """A message as the layer brings it from another process."""
        self.layer.messages.put_nowait(
            {
                "type": "publications",
                "topic": topic,
                "epoch": result.epoch,
                "offset": result.offsets[0],
                "first": result.first,
                "link": result.link,
                "entries": [build_body(offset) for offset in result.offsets],
            }
        )


@pytest.fixture
async def office(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    monkeypatch.setattr(hub_module, "CHECK_INTERVAL", 0.02)
    monkeypatch.setattr(hub_module, "CHECK_PATIENCE", 0.01)
    office = Office(GROUP_LEAVE_DELAY=0)
    tasks = [
        asyncio.create_task(office.hub.receive_forever()),
        asyncio.create_task(office.hub.check_forever()),
    ]
    yield office
    for task in tasks:
        assert not task.done()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_the_layer_brings_reaches_the_followers(office: Office) -> None:
    listener = await office.listen()
    office.send(await office.append())
    office.send(await office.append())
    await wait_until(lambda: listener.heard == [1, 2])
    assert office.history.reads == []


async def test_a_topic_is_held_once_and_forgotten_after_the_last(office: Office) -> None:
    one, two = await asyncio.gather(
        office.hub.hold(TOPIC, office.namespace), office.hub.hold(TOPIC, office.namespace)
    )
    assert one is two
    one.release()
    two.release()
    await wait_until(lambda: ("leave", TOPIC.group) in office.layer.calls)
    await settle(0.01)
    again = await office.hub.hold(TOPIC, office.namespace)
    assert again is not one


async def test_topics_that_nobody_holds_are_passed_over(office: Office) -> None:
    listener = await office.listen()
    office.send(await office.append(Topic("broadcast", "b")), "broadcast:b")
    office.send(await office.append())
    await wait_until(lambda: listener.heard == [1])


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"type": "publications"},
        {"type": "publications", "topic": "no topic"},
        {
            "type": "publications",
            "topic": 7,
            "epoch": "e",
            "offset": 1,
            "first": 1,
            "link": b"",
            "entries": [],
        },
        {
            "type": "publications",
            "topic": "broadcast:a",
            "epoch": "e",
            "offset": "1",
            "first": "x",
            "link": None,
            "entries": None,
        },
        {
            "type": "publications",
            "topic": "broadcast:b",
            "epoch": None,
            "offset": 0,
            "first": 0,
            "link": b"",
            "entries": [b"no entry"],
        },
    ],
)
async def test_a_message_that_is_none_of_ours_stops_nothing(
    office: Office, message: dict[str, Any]
) -> None:
    listener = await office.listen()
    await office.listen(Topic("broadcast", "b"), history_size=0)
    office.layer.messages.put_nowait(message)
    office.send(await office.append())
    await wait_until(lambda: listener.heard == [1])


async def test_other_messages_are_control(office: Office) -> None:
    message = {"type": "disconnect", "session": "s"}
    office.layer.messages.put_nowait(message)
    await wait_until(lambda: office.control == [message])


async def test_a_lost_message_is_found_by_the_check(office: Office) -> None:
    listener = await office.listen()
    await office.append()
    await wait_until(lambda: listener.heard == [1])
    office.send(await office.append())
    await wait_until(lambda: listener.heard == [1, 2])


async def test_a_message_that_is_only_under_way_costs_no_read(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "CHECK_PATIENCE", 0.2)
    listener = await office.listen()
    result = await office.append()
    checks = office.history.tops
    await wait_until(lambda: office.history.tops > checks)
    office.send(result)
    await settle(0.3)
    assert (listener.heard, office.history.reads) == ([1], [])


async def test_a_lost_epoch_is_found_by_the_check(office: Office) -> None:
    listener = await office.listen()
    office.send(await office.append())
    await wait_until(lambda: listener.heard == [1])
    office.history.forget()
    await wait_until(lambda: len(listener.heard) == 2)
    assert listener.heard[1] == ("history_lost", 1)


async def test_a_history_that_went_back_is_found_by_the_check(office: Office) -> None:
    """Nothing more is published; whoever comes back later must not find offsets given twice."""
    listener = await office.listen()
    for _ in range(3):
        office.send(await office.append())
    await wait_until(lambda: listener.heard == [1, 2, 3])
    office.history.set_back(TOPIC, top=1)
    await wait_until(lambda: listener.heard[3:] == [("history_lost", 1)])
    assert len(office.history.renewed) == 1


async def test_the_last_publication_of_a_topic_that_is_held_is_known(office: Office) -> None:
    assert office.hub.find_position(TOPIC) is None
    await office.listen()
    office.hub.deliver(TOPIC, epoch="another", offset=9, first=1, bodies=[build_body(9)])
    result = await office.append()
    office.send(result)
    await wait_until(lambda: office.hub.find_position(TOPIC) == Position(result.epoch, 1))


async def test_a_check_without_an_answer_is_made_again(office: Office) -> None:
    listener = await office.listen()
    office.history.is_down = True
    await office.append()
    await settle(0.05)
    office.history.is_down = False
    await wait_until(lambda: listener.heard == [1])


async def test_topics_are_checked_in_slices_and_all_in_turn(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "CHECK_SLICE", 4)
    monkeypatch.setattr(hub_module, "CHECK_MOST", 10)
    asked: list[int] = []
    read_tops = office.history.read_tops

    async def note(topics: Any) -> Any:
        if len(topics) > 1:
            asked.append(len(topics))
        return await read_tops(topics)

    listeners = {}
    for number in range(25):
        topic = Topic("broadcast", f"t{number}")
        listeners[topic] = await office.listen(topic)
    monkeypatch.setattr(office.history, "read_tops", note)
    for topic in listeners:
        await office.append(topic)
    await wait_until(lambda: all(listener.heard == [1] for listener in listeners.values()))
    assert max(asked) <= 4


async def test_topics_without_history_are_not_checked(office: Office) -> None:
    await office.listen(Topic("broadcast", "fleeting"), history_size=0)
    await settle(0.06)
    assert office.history.tops == 0


async def test_a_layer_that_is_down_is_unavailable_and_the_topic_can_be_held_later(
    office: Office,
) -> None:
    office.layer.is_down = True
    with pytest.raises(Unavailable):
        await office.hub.hold(TOPIC, office.namespace)
    office.layer.is_down = False
    assert (await office.hub.hold(TOPIC, office.namespace)).is_ready


async def test_receiving_goes_on_after_the_layer_was_down(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "RECEIVE_RETRY_DELAY", 0.01)
    listener = await office.listen()
    failures = [Unavailable("down"), Unavailable("down")]
    receive = office.layer.receive

    async def fail_first() -> dict[str, Any]:
        if failures:
            raise failures.pop()
        return await receive()

    monkeypatch.setattr(office.layer, "receive", fail_first)
    for _ in range(3):
        office.send(await office.append())
    await wait_until(lambda: listener.heard == [1, 2, 3])
    assert failures == []


async def test_topics_that_nobody_follows_any_more_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "MAX_RESTING", 3)
    office = Office()
    topics = [Topic("broadcast", f"t{n}") for n in range(6)]
    held = [await office.hub.hold(topic, office.namespace) for topic in topics]
    for one in held:
        one.release()
    again = await office.hub.hold(topics[3], office.namespace)  # it rests no longer
    office_topics = office.hub._topics
    await wait_until(lambda: len(office_topics) == 3)
    assert list(office_topics) == topics[3:]
    assert again is held[3]
    (await office.hub.hold(topics[0], office.namespace)).release()
    await settle()
    assert set(office_topics) == {topics[0], *topics[3:]}
