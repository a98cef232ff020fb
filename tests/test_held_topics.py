"""A held topic: joined once, in order, made whole from the history."""

import asyncio
import random

import pytest

from realtime import held_topics, reading
from realtime.audience import Reading
from realtime.computing import Computing
from realtime.core.errors import Unavailable
from realtime.core.positions import MAX_HELD, Position
from realtime.core.windows import parse_window
from realtime.held_topics import HISTORY_LOST, HISTORY_TRIMMED, MAX_EARLY
from realtime.statistics import open_view
from realtime.subscriptions import find_start
from tests.topics import TOPIC, Stage, build_body, settle, wait_until
from tests.virtual_time import virtual_time as virtual_time

pytestmark = pytest.mark.usefixtures("virtual_time", "no_joining")


class TestOrder:
    """What comes out is whole and in order."""

    async def test_it_begins_at_the_top_that_it_found(self) -> None:
        stage = Stage()
        await stage.append(5)
        listener = await stage.listen()
        await stage.publish(2)
        assert listener.heard == [6, 7]

    async def test_what_arrives_while_joining_is_neither_lost_nor_repeated(self) -> None:
        stage = Stage()
        stage.history.gate.clear()
        holder = asyncio.create_task(stage.listen())
        await settle(0.01)
        early = [await stage.append(2) for _ in range(3)]
        for result in early:
            stage.tell(result)
        stage.history.gate.set()  # the top that is read now covers them
        listener = await holder
        await stage.publish()
        assert listener.heard == [7]

    async def test_a_flood_while_joining_is_healed(self) -> None:
        stage = Stage()
        await stage.append(1)
        stage.layer.gate.clear()
        holder = asyncio.create_task(stage.listen())
        await settle(0.01)
        for _ in range(MAX_EARLY + 50):
            stage.tell(await stage.append())
        stage.layer.gate.set()
        listener = await holder
        await stage.publish()
        assert listener.heard == [stage.top]

    async def test_repeats_are_dropped(self) -> None:
        stage = Stage()
        listener = await stage.listen()
        results = [await stage.append(2) for _ in range(3)]
        for result in (*results, *reversed(results), *results):
            stage.tell(result)
        await settle()
        assert listener.heard == [1, 2, 3, 4, 5, 6]
        assert stage.history.reads == []

    async def test_publishers_who_overtake_each_other_cost_no_read(self) -> None:
        stage = Stage()
        listener = await stage.listen()
        first, second = await stage.append(), await stage.append()
        stage.tell(second)
        assert listener.heard == []
        stage.tell(first)
        await settle()
        assert (listener.heard, stage.history.reads) == ([1, 2], [])

    async def test_a_jump_is_filled_by_one_read_for_all_followers(self) -> None:
        stage = Stage()
        listeners = [await stage.listen() for _ in range(10)]
        await stage.publish()
        await stage.append(5)  # lost
        for _ in range(4):
            await stage.publish()
        await wait_until(lambda: len(listeners[0].heard) == 10)
        assert [listener.heard for listener in listeners] == [list(range(1, 11))] * 10
        assert stage.history.reads == [1]

    async def test_bodies_that_were_not_carried_are_read_at_once(self) -> None:
        stage = Stage()
        listener = await stage.listen()
        stage.tell(await stage.append(4), without=[2, 3])
        assert listener.heard == [1]
        await settle(0.005)
        assert listener.heard == [1, 2, 3, 4]

    async def test_a_jump_waits_for_a_history_that_is_down(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(held_topics, "RETRY_DELAY", 0.02)
        stage = Stage()
        listener = await stage.listen()
        stage.history.is_down = True
        await stage.append(3)
        await stage.publish()
        await settle(0.06)
        assert listener.heard == []
        assert len(stage.history.reads) >= 2
        stage.history.is_down = False
        await wait_until(lambda: listener.heard == [1, 2, 3, 4])

    async def test_a_long_outage_with_many_early_publications_still_heals(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """More than can be held come after the jump while the history does not answer."""
        monkeypatch.setattr(held_topics, "RETRY_DELAY", 0.02)
        stage = Stage(history_size=5 * MAX_HELD)
        listener = await stage.listen()
        stage.history.is_down = True
        await stage.append(1)
        for _ in range(30):
            await stage.publish(100)
        await settle(0.03)
        stage.history.is_down = False
        await wait_until(lambda: len(listener.heard) == 3001)
        assert listener.heard == list(range(1, 3002))

    async def test_what_was_trimmed_before_it_could_be_read_is_told_as_lost(self) -> None:
        stage = Stage(history_size=3)
        listener = await stage.listen()
        await stage.publish(2)
        await stage.append(10)
        await stage.publish()
        await settle()
        assert listener.heard == [1, 2, (HISTORY_TRIMMED, 11), 11, 12, 13]
        assert stage.held.first == 11

    async def test_nothing_from_before_a_skip_is_given_from_memory(self) -> None:
        """What is in memory would end before the position."""
        stage = Stage()
        listener = await stage.listen()
        await stage.publish(5)
        await stage.append(3)  # lost
        stage.history.expire(TOPIC)
        stage.held.catch_up()
        await wait_until(lambda: listener.heard[5:] == [(HISTORY_TRIMMED, 9)])
        recover = Position(stage.held.position.epoch, 5)
        start = await find_start(stage.held, recover=recover)
        assert (start.recovered, start.next) == (False, 9)

    async def test_a_top_far_ahead_is_read_in_one_go_though_no_page_holds_all_of_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(held_topics, "READ_LIMIT", 3)
        stage = Stage()
        listener = await stage.listen()
        await stage.append(20)  # lost, and nothing follows
        stage.held.catch_up()
        await wait_until(lambda: stage.held._filling is None)
        assert listener.heard == list(range(1, 21))

    async def test_a_topic_that_is_joined_again_knows_nothing_of_what_was_retained_before(
        self,
    ) -> None:
        stage = Stage(history_size=5, leave_delay=0)
        await stage.held.hold()
        await stage.publish(50)
        assert stage.held.first == 46
        stage.layer.gate.clear()
        stage.held.release()
        await settle(0.01)  # leaving
        stage.history.forget()
        stage.top = 0
        newcomer = asyncio.create_task(stage.held.hold())
        stage.layer.gate.set()
        await newcomer
        await stage.publish(3)
        assert stage.held.first == 1

    async def test_a_lost_epoch_is_told_and_what_is_retained_of_the_new_one_follows_at_once(
        self,
    ) -> None:
        stage = Stage()
        listener = await stage.listen()
        await stage.publish(5)
        stage.history.forget()
        stage.top = 0
        await stage.append(2)
        await stage.publish()
        await settle()
        assert listener.heard == [1, 2, 3, 4, 5, (HISTORY_LOST, 1), 1, 2, 3]
        assert listener.epoch == stage.held.position.epoch
        await stage.publish()
        assert listener.heard[-1] == 4

    async def test_whatever_the_layer_does_followers_get_all_in_order_once(self) -> None:
        random_ = random.Random(1)
        stage = Stage(history_size=10_000)
        listener = await stage.listen()
        waiting = []
        for _ in range(300):
            result = await stage.append(random_.randint(1, 4))
            lost = [n for n in result.offsets if random_.random() < 0.05]
            waiting += [(result, lost)] * random_.choice([0, 1, 1, 1, 2])
            random_.shuffle(waiting)
            while len(waiting) > random_.randint(0, 4):
                stage.tell(waiting[-1][0], without=waiting.pop()[1])
            if random_.random() < 0.3:
                await asyncio.sleep(0.001)
        stage.held.catch_up()
        await wait_until(lambda: len(listener.heard) == stage.top)
        assert listener.heard == list(range(1, stage.top + 1))

    @pytest.mark.parametrize("moment", [0.0, 0.005, 0.01])
    async def test_a_question_while_a_jump_is_given_its_time_is_not_forgotten(
        self, moment: float
    ) -> None:
        stage = Stage()
        listener = await stage.listen()
        late, early = await stage.append(), await stage.append()
        stage.tell(early)
        stage.tell(late)  # the jump has closed by itself, and its filling waits still
        await stage.append()  # lost without a trace but for the check of tops
        await settle(moment)
        stage.held.catch_up()
        await settle(0.02)
        assert listener.heard == [1, 2, 3]

    async def test_a_question_during_a_read_is_answered_by_another(self) -> None:
        stage = Stage()
        listener = await stage.listen()
        await stage.append()
        reply = stage.history.delay_reply(after=0)
        stage.held.catch_up()
        await settle(0.005)
        await stage.append()  # after the history was read
        stage.held.catch_up()
        reply.set()
        await settle(0.005)
        assert listener.heard == [1, 2]
        assert stage.history.reads == [0, 1]

    async def test_what_comes_as_a_filling_ends_is_filled_as_well(self) -> None:
        stage = Stage()
        listener = await stage.listen()
        await stage.append()
        filling = stage.held._fill

        async def fill(delay: float) -> None:
            await filling(delay)
            stage.held._fill = filling  # type: ignore[method-assign]
            await stage.append()
            stage.tell(await stage.append())  # it has looked for the last time

        stage.held._fill = fill  # type: ignore[method-assign]
        stage.held.catch_up()
        await settle(0.02)
        assert listener.heard == [1, 2, 3]

    async def test_without_a_history_everything_is_passed_on_as_it_comes(self) -> None:
        stage = Stage(history_size=0)
        listener = await stage.listen()
        for number in (1, 2):
            stage.held.accept(
                epoch=None,
                offset=0,
                first=0,
                bodies=[build_body(n) for n in (2 * number - 1, 2 * number)],
            )
        assert listener.heard == [1, 2, 3, 4]
        assert (stage.history.tops, stage.history.reads) == (0, [])


class TestRewind:
    """A history that comes back without its newest gives offsets twice; that ends its epoch."""

    async def test_a_top_below_the_position_ends_the_epoch_for_everybody(self) -> None:
        stage = Stage()
        listener = await stage.listen()
        await stage.publish(5)
        old = stage.held.position.epoch
        stage.history.set_back(TOPIC, top=3)
        stage.held.catch_up()
        await wait_until(lambda: stage.history.renewed)
        await settle()
        assert (listener.heard[5:], stage.history.renewed) == ([(HISTORY_LOST, 1)], [old])
        assert listener.epoch == stage.held.position.epoch != old
        stage.top = 0
        await stage.publish(2)
        assert listener.heard[6:] == [1, 2]

    async def test_publications_in_place_of_lost_ones_are_never_taken_for_the_next(self) -> None:
        """The top has passed the position again before anybody looked: the links do not fit."""
        stage = Stage()
        listener = await stage.listen()
        await stage.publish(5)
        stage.history.set_back(TOPIC, top=3)
        stage.top = 3
        for _ in range(4):
            await stage.publish()  # 4 and 5 look like repeats, 6 does not fit
        await wait_until(lambda: stage.history.renewed)
        await settle()
        assert listener.heard == [1, 2, 3, 4, 5, (HISTORY_LOST, 1)]

    async def test_other_publications_up_to_the_same_offset_are_seen_by_the_check(self) -> None:
        stage = Stage()
        listener = await stage.listen()
        await stage.publish(5)
        (top,) = await stage.history.read_tops([TOPIC])
        assert not stage.held.differs_from(top)
        stage.history.set_back(TOPIC, top=3)
        stage.top = 3
        await stage.publish(2)
        assert listener.heard == [1, 2, 3, 4, 5]
        (top,) = await stage.history.read_tops([TOPIC])
        assert stage.held.differs_from(top)
        stage.held.catch_up()
        await wait_until(lambda: listener.heard[5:] == [(HISTORY_LOST, 1)])

    async def test_a_jump_over_the_rewind_is_seen_when_it_is_filled(self) -> None:
        stage = Stage()
        listener = await stage.listen()
        await stage.publish(5)
        stage.history.set_back(TOPIC, top=2)
        stage.top = 2
        await stage.append(6)  # to 8, not heard
        await stage.publish()
        await wait_until(lambda: stage.history.renewed)
        await settle()
        assert listener.heard == [1, 2, 3, 4, 5, (HISTORY_LOST, 1)]

    async def test_a_reader_who_saw_it_first_tells_the_topic(self) -> None:
        stage = Stage()
        listener = await stage.listen()
        await stage.publish(5)
        epoch = stage.held.position.epoch
        stage.held.report_rewind(epoch="another")
        await settle()
        assert stage.history.renewed == []
        stage.held.report_rewind(epoch=epoch)
        await wait_until(lambda: stage.history.renewed == [epoch])
        await wait_until(lambda: listener.heard[5:] == [(HISTORY_LOST, 1)])

    async def test_the_epoch_ends_once_the_history_answers_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(held_topics, "RETRY_DELAY", 0.01)
        stage = Stage()
        listener = await stage.listen()
        await stage.publish(5)
        stage.history.set_back(TOPIC, top=3)
        stage.top = 3
        for _ in range(3):
            await stage.publish()
        stage.history.is_down = True
        await settle()
        assert listener.heard == [1, 2, 3, 4, 5]
        stage.history.is_down = False
        await wait_until(lambda: listener.heard[5:] == [(HISTORY_LOST, 1)])


class TestReading:
    """Those who come back together cost a handful of reads."""

    async def test_readers_at_once_share_a_read_from_the_lowest_of_them(self) -> None:
        stage = Stage()
        await stage.append(50)
        await stage.held.hold()
        stage.history.gate.clear()
        first = asyncio.create_task(stage.held.read(after=45))
        await settle(0.005)
        others = [asyncio.create_task(stage.held.read(after=n)) for n in (40, 20, 30, 20, 48, 50)]
        await settle(0.005)
        stage.history.gate.set()
        pages = [await first, *[await other for other in others]]
        assert stage.history.reads == [45, 20]
        assert [page.start for page in pages] == [46, 41, 21, 31, 21, 49, 51]
        assert [page.end for page in pages[:-1]] == [50] * 6
        assert not pages[-1].bodies

    async def test_those_who_come_within_a_second_read_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reading, "PAGE_LIFE", 0.05)
        stage = Stage()
        await stage.append(50)
        await stage.held.hold()
        assert (await stage.held.read(after=2)).start == 3
        page = await stage.held.read(after=7)
        assert (stage.history.reads, page.start, len(page.bodies)) == ([2], 8, 43)
        await settle(0.08)
        await stage.held.read(after=7)
        assert stage.history.reads == [2, 7]

    async def test_what_was_handed_on_lately_is_not_read(self) -> None:
        stage = Stage()
        await stage.append(5)
        listener = await stage.listen()
        await stage.publish(5)
        assert listener.heard == [6, 7, 8, 9, 10]
        page = await stage.held.read(after=7)
        assert (page.start, page.top, list(page.bodies)) == (
            8,
            10,
            [build_body(n) for n in (8, 9, 10)],
        )
        assert not (await stage.held.read(after=10)).bodies
        assert stage.history.reads == []

    async def test_an_older_page_is_kept_in_front_of_what_was_handed_on(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reading, "PAGE_LIFE", 0)
        stage = Stage()
        await stage.append(20)
        await stage.listen()
        await stage.publish()
        await stage.held.read(after=10)
        await settle(0.005)
        assert (await stage.held.read(after=15)).start == 16
        assert stage.history.reads == [10]
        await stage.held.read(after=5)
        assert stage.history.reads == [10, 5]

    async def test_a_thousand_readers_who_come_one_by_one_make_a_handful_of_reads(self) -> None:
        random_ = random.Random(3)
        stage = Stage()
        await stage.append(900)
        await stage.listen()
        for number in range(1000):
            await stage.held.read(after=random_.randint(0, stage.top))
            if number % 10 == 0:
                await stage.publish()
        assert len(stage.history.reads) < 15

    async def test_what_expired_is_not_given_from_memory(self) -> None:
        stage = Stage(history_ttl=0.02)
        await stage.listen()
        await stage.publish(3)
        await settle(0.04)
        page = await stage.held.read(after=0)
        assert (page.first, list(page.bodies), stage.history.reads) == (4, [], [0])

    async def test_a_new_epoch_empties_the_memory(self) -> None:
        stage = Stage()
        listener = await stage.listen()
        await stage.publish(3)
        stage.history.forget()
        stage.top = 0
        await stage.publish(2)
        await wait_until(lambda: listener.heard[-1] == 2)
        page = await stage.held.read(after=0)
        assert (page.epoch, page.end) == (stage.held.position.epoch, 2)

    async def test_a_page_that_says_more_than_was_heard_makes_the_topic_catch_up(self) -> None:
        stage = Stage()
        listener = await stage.listen()
        await stage.append(3)  # not heard
        await stage.held.read(after=1)
        await wait_until(lambda: listener.heard == [1, 2, 3])

    async def test_a_failure_is_told_to_everybody_who_waits(self) -> None:
        stage = Stage()
        await stage.held.hold()
        await stage.append(3)
        stage.history.gate.clear()
        stage.history.is_down = True
        readers = [asyncio.create_task(stage.held.read(after=n)) for n in (0, 1, 1)]
        await settle(0.005)
        stage.history.gate.set()
        results = await asyncio.gather(*readers, return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable] * 3
        stage.history.is_down = False
        assert (await stage.held.read(after=1)).end == 3


async def test_a_reader_who_gives_up_does_not_spoil_the_read_of_others() -> None:
    stage = Stage()
    await stage.append(5)
    await stage.held.hold()
    stage.history.gate.clear()
    readers = [asyncio.create_task(stage.held.read(after=1)) for _ in range(2)]
    await settle(0.005)
    readers[0].cancel()
    stage.history.gate.set()
    assert len((await readers[1]).bodies) == 4


async def test_statistics_begin_anew_where_the_group_was_left_in_between() -> None:
    """What was published between leaving and joining never reached the old view."""
    stage = Stage(leave_delay=0)
    reading = Reading(parse_window("100"), (), "user 1")
    await stage.held.hold()
    view = await open_view(stage.held, reading, Computing())
    stage.layer.gate.clear()
    stage.held.release()
    await settle(0.01)  # leaving
    newcomer = asyncio.create_task(stage.held.hold())
    stage.layer.gate.set()
    await newcomer
    fresh = await open_view(stage.held, reading, Computing())
    assert fresh is not view
    assert view not in stage.held.followers
