"""Reads that sessions share: what was read before somebody asked proves nothing to them."""

import asyncio
import gc

import pytest

from realtime.core import recent
from realtime.core.positions import Position
from realtime.history import Page, log
from realtime.reading import MAX_PAGES
from realtime.subscriptions import Start, find_start
from tests.topics import TOPIC, Session, Stage, settle, subscribe, wait_until
from tests.virtual_time import virtual_time as virtual_time

pytestmark = pytest.mark.usefixtures("virtual_time", "no_joining")


async def prepare(*, stored: int, **options: int) -> Stage:
    """A stage whose topic is held, with so many publications in its history."""
    stage = Stage(**options)
    await stage.append(stored)
    await stage.held.hold()
    return stage


async def begin_slow_read(stage: Stage, *, after: int) -> tuple[asyncio.Task[Page], asyncio.Event]:
    """A read that the history has done, but whose answer comes with the event."""
    reply = stage.history.delay_reply(after=after)
    read = asyncio.create_task(stage.held.read(after=after))
    await settle(0.005)
    assert stage.history.reads == [after]
    return read, reply


async def begin_another_epoch(stage: Stage, *, stored: int) -> str:
    """Lose the history and store anew; the process catches up. The epoch."""
    stage.history.forget()
    stage.top = 0
    epoch = (await stage.append(stored)).epoch
    stage.held.catch_up()
    await wait_until(lambda: stage.held.position == Position(epoch, stored))
    return epoch


async def test_a_read_that_began_before_does_not_refuse_a_later_position() -> None:
    """The position was given by another process meanwhile."""
    stage = await prepare(stored=5)
    slow, reply = await begin_slow_read(stage, after=2)
    await stage.publish(3)  # to 8
    stage.held._recent.forget(TOPIC)  # other topics needed the room
    recover = Position(stage.held.position.epoch, 7)
    finding = asyncio.create_task(find_start(stage.held, recover=recover))
    await settle(0.005)
    reply.set()
    assert (await slow).top == 5
    start = await asyncio.wait_for(finding, 1)
    assert (start.recovered, start.next) == (True, 8)


async def test_a_read_that_began_before_does_not_end_the_epoch() -> None:
    stage, session = await prepare(stored=5), Session()
    slow, reply = await begin_slow_read(stage, after=2)
    await stage.publish(3)  # to 8
    start = Start(8, Position(stage.held.position.epoch, 7), recovered=True)
    stage.held._recent.forget(TOPIC)
    following = asyncio.create_task(subscribe(stage, session, start))
    await settle(0.005)
    reply.set()
    assert (await slow).top == 5
    await asyncio.wait_for(following, 2)
    await session.outbox.drained()
    assert (session.offsets, stage.history.renewed) == ([8], [])


async def test_a_page_of_an_epoch_that_has_ended_serves_nobody_of_the_next() -> None:
    stage = await prepare(stored=5)
    slow, reply = await begin_slow_read(stage, after=0)
    epoch = await begin_another_epoch(stage, stored=3)
    reply.set()
    assert (await slow).epoch != epoch
    stage.held._recent.forget(TOPIC)
    start = await find_start(stage.held, recover=Position(epoch, 2))
    assert (start.recovered, start.cursor.epoch) == (True, epoch)


async def test_nobody_is_sent_to_and_fro_between_two_epochs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A page of the epoch that has ended, and a memory of the next that does not reach back to
    the start: each would send whoever follows to the other, without a pause."""
    stage, session = await prepare(stored=150, history_size=100), Session()
    slow, reply = await begin_slow_read(stage, after=10)
    epoch = await begin_another_epoch(stage, stored=40)
    monkeypatch.setattr(recent, "MAX_ENTRIES", 30)
    await stage.publish(30)  # to 70: those from 41 on are in memory
    reply.set()
    assert (await slow).epoch != epoch
    reads = 0
    read = stage.held.read

    async def count(*, after: int, epoch: str | None = None) -> Page:
        nonlocal reads
        reads += 1
        assert reads < 20, "it goes on and on"
        return await read(after=after, epoch=epoch)

    monkeypatch.setattr(stage.held, "read", count)
    await asyncio.wait_for(subscribe(stage, session, Start(70, Position(epoch, 0))), 3)
    await session.outbox.drained()
    assert session.offsets == list(range(1, 71))
    assert session.check_delivery(after=0) == 70


async def test_pages_that_were_let_go_of_are_freed_before_their_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log, "PAGE_BYTES", 1)  # one publication a page
    stage = await prepare(stored=60)
    for after in range(50):
        stage.held._recent.forget(TOPIC)
        await stage.held.read(after=after)
    assert len(stage.history.reads) == 50
    gc.collect()
    epoch = stage.held.position.epoch
    pages = [p for p in gc.get_objects() if type(p) is Page and p.epoch == epoch]
    assert len(pages) <= MAX_PAGES + 2
