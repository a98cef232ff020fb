"""Group commit: one call for what waited, answers in order, nothing without an answer."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from realtime import pipeline as pipeline_module
from realtime.conf import Namespace, build_settings
from realtime.core.entries import Body
from realtime.core.errors import Refused, Unavailable
from realtime.core.positions import Position
from realtime.core.topics import Topic
from realtime.history import Item
from realtime.pipeline import Pipeline, Receipt
from tests.topics import FakeLayer, WatchedHistory, build_namespace, settle, wait_until
from tests.virtual_time import virtual_time as virtual_time

pytestmark = pytest.mark.usefixtures("virtual_time")

A, B = Topic("broadcast", "a"), Topic("broadcast", "b")


class RecordingHub:
    """What the local hub is given."""

    def __init__(self) -> None:
        self.delivered: list[tuple[Topic, str | None, int, int, list[bytes | None]]] = []
        self.links: list[bytes] = []
        self.positions: dict[Topic, Position] = {}

    def deliver(
        self,
        topic: Topic,
        *,
        epoch: str | None,
        offset: int,
        first: int,
        bodies: list[Body | None],
        link: bytes = b"",
    ) -> None:
        self.delivered.append((topic, epoch, offset, first, bodies))
        self.links.append(link)

    def find_position(self, topic: Topic) -> Position | None:
        return self.positions.get(topic)


class Press:
    """A pipeline with everything around it."""

    def __init__(self, *, has_hub: bool = True, **options: Any) -> None:
        self.history = WatchedHistory()
        self.layer = FakeLayer()
        self.layer.is_shared = False
        self.hub = RecordingHub()
        self.namespace = build_namespace()
        self.pipeline = Pipeline(
            settings=build_settings(options),
            history=self.history,
            layer=self.layer,  # type: ignore[arg-type]
            hub=self.hub if has_hub else None,  # type: ignore[arg-type]
        )

    def submit(
        self,
        body: Body,
        *,
        topic: Topic = A,
        id: str | None = None,
        namespace: Namespace | None = None,
    ) -> "asyncio.Future[Receipt]":
        return self.pipeline.submit(topic, namespace or self.namespace, Item(body, id))

    @property
    def commits(self) -> list[list[int]]:
        """The number of publications of each batch of each append."""
        return [[len(batch.items) for batch in batches] for batches in self.history.appends]


async def test_what_waits_while_a_commit_is_under_way_goes_in_one_call() -> None:
    press = Press()
    press.history.gate.clear()
    futures = [press.submit(b"first")]
    await settle(0.005)
    futures += [press.submit(b"%d" % n) for n in range(100)]
    await settle(0.005)
    assert press.commits == [[1]]
    press.history.gate.set()
    receipts = await asyncio.gather(*futures)
    assert press.commits == [[1], [100]]
    assert [receipt.position.offset for receipt in receipts if receipt.position] == list(
        range(1, 102)
    )


async def test_one_call_takes_each_topic_s_share_as_one_batch() -> None:
    press = Press()
    futures = [press.submit(b"x", topic=topic) for topic in (A, B, A, A, B)]
    receipts = await asyncio.gather(*futures)
    assert press.commits == [[3, 2]]
    assert [r.position.offset for r in receipts if r.position] == [1, 1, 2, 3, 2]


async def test_acknowledgements_come_in_the_order_of_publishing() -> None:
    press = Press(BATCH_PUBLICATIONS=7)
    order: list[int] = []

    def note(number: int) -> Callable[[Any], None]:
        return lambda _: order.append(number)

    for number in range(50):
        press.submit(b"x").add_done_callback(note(number))
    await wait_until(lambda: len(order) == 50)
    assert order == list(range(50))


async def test_a_commit_is_bounded_in_publications_and_bytes() -> None:
    press = Press(BATCH_PUBLICATIONS=10, BATCH_BYTES=1000)
    sizes = [1] * 25 + [600] * 3 + [5000, 1]
    await asyncio.gather(*(press.submit(b"x" * size) for size in sizes))
    assert press.commits == [[10], [10], [6], [1], [1], [1], [1]]


async def test_repeats_are_told_and_not_delivered_again() -> None:
    press = Press()
    receipts = await asyncio.gather(
        press.submit(b"a", id="x"), press.submit(b"b"), press.submit(b"a", id="x")
    )
    assert [(r.position.offset, r.duplicate) for r in receipts if r.position] == [
        (1, False),
        (2, False),
        (1, True),
    ]
    again = await press.submit(b"c", id="x")
    assert again == Receipt(receipts[0].position, duplicate=True)
    assert [(offset, bodies) for _, _, offset, _, bodies in press.hub.delivered] == [
        (1, [b"a", b"b"])
    ]


async def test_offsets_of_the_delivery_begin_with_the_first_new_one() -> None:
    press = Press()
    await press.submit(b"a", id="x")
    await asyncio.gather(press.submit(b"a", id="x"), press.submit(b"b"), press.submit(b"c"))
    assert press.hub.delivered[1][2:] == (2, 1, [b"b", b"c"])


async def test_the_local_hub_is_fed_when_it_is_committed() -> None:
    press = Press()
    press.namespace = build_namespace(history_size=2)
    receipts = await asyncio.gather(*(press.submit(b"%d" % n) for n in range(3)))
    assert isinstance(receipts[0].position, Position)
    epoch = receipts[0].position.epoch
    assert press.hub.delivered == [(A, epoch, 1, 2, [b"0", b"1", b"2"])]


async def test_a_history_that_is_down_is_told_to_each_publisher_and_nobody_hears_it() -> None:
    press = Press()
    press.history.is_down = True
    futures = [press.submit(b"x") for _ in range(3)]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 3
    assert len({id(result) for result in results}) == 3
    assert press.hub.delivered == []
    press.history.is_down = False
    receipt = await press.submit(b"y")
    assert receipt.position is not None
    assert receipt.position.offset == 1


async def test_a_refusal_stays_one_and_the_log_counts_failures_once_a_second(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    press = Press()

    async def refuse(batches: Any) -> Any:
        refused = Refused("it was not published: the store is out of memory; try again later")
        refused.__cause__ = RuntimeError("OOM command not allowed")
        return [refused] * len(batches)

    monkeypatch.setattr(press.history, "append", refuse)
    for _ in range(5):
        with pytest.raises(Refused, match="out of memory"):
            await press.submit(b"x")
    await asyncio.sleep(pipeline_module.REPORT_SECONDS)
    with pytest.raises(Refused):
        await press.submit(b"x")
    assert caplog.messages == ["publications refused: OOM command not allowed"] * 2
    assert [record.publications for record in caplog.records] == [1, 5]


async def test_a_bug_in_a_commit_is_an_answer_too_and_the_next_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    press = Press()

    async def fail(batches: Any) -> Any:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(press.history, "append", fail)
        with pytest.raises(Unavailable):
            await asyncio.wait_for(press.submit(b"x"), 1)
    assert (await press.submit(b"y")).position is not None


async def test_what_may_wait_is_bounded() -> None:
    press = Press(PENDING_PUBLICATIONS=3)
    press.history.gate.clear()
    futures = [press.submit(b"x")]
    await settle(0.005)
    futures += [press.submit(b"x") for _ in range(3)]
    with pytest.raises(Unavailable, match="too many"):
        await press.submit(b"x")
    press.history.gate.set()
    assert len(await asyncio.gather(*futures)) == 4
    await press.submit(b"there is room again")


async def test_the_bytes_that_wait_are_bounded() -> None:
    press = Press(PENDING_BYTES=100)
    press.history.gate.clear()
    futures = [press.submit(b"x" * 90)]
    await settle(0.005)  # it is being committed and waits no longer
    futures += [press.submit(b"x" * 60), press.submit(b"x" * 40)]
    with pytest.raises(Unavailable):
        await press.submit(b"x")
    press.history.gate.set()
    await asyncio.gather(*futures)


async def test_a_publisher_who_gave_up_does_not_disturb_the_others() -> None:
    press = Press()
    press.history.gate.clear()
    futures = [press.submit(b"%d" % n) for n in range(3)]
    await settle(0.005)
    futures[1].cancel()
    press.history.gate.set()
    first, _, third = await asyncio.gather(*futures, return_exceptions=True)
    assert isinstance(first, Receipt)
    assert isinstance(third, Receipt)
    assert third.position is not None
    assert third.position.offset == 3


async def test_without_history_it_is_passed_on_and_has_no_position() -> None:
    press = Press()
    fleeting = build_namespace(history_size=0)
    receipts = await asyncio.gather(
        press.submit(b"a", namespace=fleeting), press.submit(b"b", namespace=fleeting)
    )
    assert receipts == [Receipt(None), Receipt(None)]
    assert press.hub.delivered == [(A, None, 0, 0, [b"a", b"b"])]
    assert sum(map(sum, press.commits)) == 0


async def test_without_history_a_shared_layer_carries_it_to_everybody_once() -> None:
    press = Press()
    press.layer.is_shared = True
    fleeting = build_namespace(history_size=0)
    await press.submit(b"a", namespace=fleeting)
    assert press.hub.delivered == []  # it comes back through the layer
    assert press.layer.sent == [
        {
            "type": "publications",
            "topic": "broadcast:a",
            "epoch": None,
            "offset": 0,
            "first": 0,
            "link": b"",
            "entries": [b"a"],
        }
    ]
    await press.submit(memoryview(b"long"), namespace=fleeting)
    (entry,) = press.layer.sent[-1]["entries"]
    assert isinstance(entry, bytes)  # a layer need not know what a view is
    press.layer.is_down = True
    with pytest.raises(Unavailable):
        await press.submit(b"b", namespace=fleeting)


async def test_a_layer_that_the_history_does_not_announce_on_is_told_by_a_task_of_its_own() -> None:
    press = Press()
    press.layer.is_shared = True
    press.layer.gate.clear()
    receipt = await asyncio.wait_for(press.submit(b"a"), 1)  # accepted while the layer stalls
    assert receipt.position is not None
    press.layer.gate.set()
    await wait_until(lambda: press.layer.sent)
    (message,) = press.layer.sent
    assert message["entries"] == [b"a"]
    assert (message["epoch"], message["offset"]) == (receipt.position.epoch, 1)
    await press.pipeline.close()


async def test_an_announcement_that_the_layer_chokes_on_is_not_the_last() -> None:
    press = Press()
    press.layer.is_shared = True
    send = press.layer.send

    async def fail(group: str, message: Any) -> None:
        press.layer.send = send  # type: ignore[method-assign]
        raise RuntimeError("an error of another backend")

    press.layer.send = fail  # type: ignore[method-assign]
    await press.submit(b"a")
    await settle()
    await press.submit(b"b")
    await wait_until(lambda: press.layer.sent)
    assert press.layer.sent[0]["entries"] == [b"b"]
    await press.pipeline.close()


async def test_announcements_that_wait_are_bounded_and_never_hold_up_a_publisher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline_module, "MAX_ANNOUNCEMENTS", 2)
    press = Press()
    press.layer.is_shared = True
    press.layer.gate.clear()
    for _ in range(10):
        await asyncio.wait_for(press.submit(b"a"), 1)
    press.layer.gate.set()
    await settle()
    assert 2 <= len(press.layer.sent) <= 3
    await press.pipeline.close()


async def test_without_a_hub_it_only_commits() -> None:
    press = Press(has_hub=False)
    assert (await press.submit(b"a")).position is not None
    fleeting = build_namespace(history_size=0)
    assert await press.submit(b"a", namespace=fleeting) == Receipt(None)


async def test_closing_commits_what_waits() -> None:
    press = Press()
    futures = [press.submit(b"x") for _ in range(5)]
    await press.pipeline.close()
    assert all(future.done() for future in futures)


async def test_a_layer_that_stalls_holds_up_the_next_commit_by_one_deadline() -> None:
    press, now = Press(), asyncio.get_running_loop().time
    press.layer.is_shared = True
    fleeting = build_namespace(history_size=0)

    async def stall(group: str, message: Any) -> None:
        await asyncio.sleep(2)
        raise Unavailable("the layer does not answer")

    press.layer.send = stall  # type: ignore[method-assign]
    began = now()
    doomed = [
        press.submit(b"x", topic=Topic("fleeting", f"t{n}"), namespace=fleeting) for n in range(20)
    ]
    first = press.submit(b"first")
    assert (await first).position is not None
    assert now() == began
    assert (await press.submit(b"next")).position is not None
    assert now() - began < 2.1
    results = await asyncio.gather(*doomed, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 20
    await press.pipeline.close()


async def test_publications_of_one_topic_without_history_are_sent_one_batch_after_the_other() -> (
    None
):
    press = Press(BATCH_PUBLICATIONS=3)
    press.layer.is_shared = True
    fleeting = build_namespace(history_size=0)
    under_way: list[str] = []

    async def send(group: str, message: Any) -> None:
        assert group not in under_way
        under_way.append(group)
        await asyncio.sleep(0.01)
        under_way.remove(group)
        press.layer.sent.append(message)

    press.layer.send = send  # type: ignore[method-assign]
    topics = [A, B, A, A, A, B, A]
    await asyncio.gather(
        *(
            press.submit(b"%d" % n, topic=topic, namespace=fleeting)
            for n, topic in enumerate(topics)
        )
    )
    for topic in (A, B):
        sent = [m["entries"] for m in press.layer.sent if m["topic"] == str(topic)]
        assert [entry for batch in sent for entry in batch] == [
            b"%d" % n for n, one in enumerate(topics) if one == topic
        ]


async def test_a_bug_at_one_topic_without_history_is_no_other_topic_s() -> None:
    press = Press()
    press.layer.is_shared = True
    fleeting = build_namespace(history_size=0)
    send = press.layer.send

    async def fail(group: str, message: Any) -> None:
        if group == A.group:
            raise RuntimeError("a bug")
        await send(group, message)

    press.layer.send = fail  # type: ignore[method-assign]
    futures = [
        press.submit(b"x", topic=topic, namespace=namespace)
        for topic, namespace in [(A, fleeting), (B, fleeting), (Topic("c", "c"), press.namespace)]
    ]
    broken, passed_on, kept = await asyncio.gather(*futures, return_exceptions=True)
    assert isinstance(broken, Unavailable)
    assert passed_on == Receipt(None)
    assert isinstance(kept, Receipt)
    await press.pipeline.close()
