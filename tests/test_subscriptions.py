"""A session's subscription: catching up, live, conflated; nothing lost, nothing twice."""

import asyncio
import random
from typing import Any

import pytest

from realtime.core import recent
from realtime.core.errors import IllegalTransition, Unavailable
from realtime.core.positions import Position
from realtime.subscriptions import Start, State, Subscription, find_start
from tests.topics import TOPIC, Session, Stage, build_body, settle, subscribe, wait_until
from tests.virtual_time import virtual_time as virtual_time

pytestmark = pytest.mark.usefixtures("virtual_time", "no_joining")


class TestStart:
    """Where a subscription begins."""

    @staticmethod
    async def prepare(*, stored: int = 10, **options: Any) -> Stage:
        stage = Stage(**options)
        if stored:
            await stage.append(stored)
        await stage.held.hold()
        return stage

    async def test_a_fresh_one_begins_now(self) -> None:
        stage = await self.prepare()
        start = await find_start(stage.held)
        assert (start.top, start.next, start.recovered, start.gap) == (10, 11, None, None)
        assert stage.history.reads == []

    @pytest.mark.parametrize(("history", "next"), [(1, 10), (3, 8), (10, 1), (500, 1)])
    async def test_with_history_it_begins_before_the_last_ones(
        self, history: int, next: int
    ) -> None:
        stage = await self.prepare()
        start = await find_start(stage.held, history=history)
        assert (start.next, start.recovered, start.gap) == (next, None, None)

    async def test_history_begins_with_what_is_retained(self) -> None:
        stage = await self.prepare(history_size=4)
        assert (await find_start(stage.held, history=9)).next == 7

    async def test_history_of_an_empty_topic_is_empty(self) -> None:
        stage = await self.prepare(stored=0)
        start = await find_start(stage.held, history=5)
        assert (start.top, start.next) == (0, 1)

    @pytest.mark.parametrize("offset", [0, 1, 9, 10])
    async def test_recovery_goes_on_after_the_position(self, offset: int) -> None:
        stage = await self.prepare()
        recover = Position(stage.held.position.epoch, offset)
        start = await find_start(stage.held, recover=recover, history=3)
        assert (start.next, start.recovered, start.gap) == (offset + 1, True, None)

    async def test_recovery_from_just_before_the_first_retained_is_whole(self) -> None:
        stage = await self.prepare(history_size=4)
        epoch = stage.held.position.epoch
        start = await find_start(stage.held, recover=Position(epoch, 6))
        assert (start.next, start.recovered) == (7, True)

    async def test_a_trimmed_position_is_a_gap_up_to_what_is_retained(self) -> None:
        stage = await self.prepare(history_size=4)
        epoch = stage.held.position.epoch
        start = await find_start(stage.held, recover=Position(epoch, 5))
        assert start.recovered is False
        assert start.gap is not None
        assert (start.gap.reason, start.gap.epoch) == ("history_trimmed", epoch)
        assert (start.gap.after, start.gap.next, start.next) == (5, 7, 7)

    async def test_another_epoch_is_a_gap_and_all_that_is_retained_follows(self) -> None:
        stage = await self.prepare(history_size=4)
        start = await find_start(stage.held, recover=Position("another", 8))
        assert start.recovered is False
        assert start.gap is not None
        assert (start.gap.reason, start.gap.epoch) == (
            "history_lost",
            stage.held.position.epoch,
        )
        assert (start.gap.after, start.gap.next, start.next) == (8, 7, 7)

    async def test_a_position_ahead_of_the_topic_changes_nothing_here(self) -> None:
        stage = await self.prepare()
        before = stage.held.position
        start = await find_start(stage.held, recover=Position(before.epoch, 99))
        assert start.gap is not None
        assert (start.gap.reason, start.gap.after, start.gap.next) == ("history_lost", 99, 11)
        assert (start.recovered, start.next, stage.held.position) == (False, 11, before)

    async def test_a_position_in_an_expired_history_is_whole_only_at_the_top(self) -> None:
        stage = await self.prepare(history_ttl=0.01)
        await settle(0.02)
        epoch = stage.held.position.epoch
        assert (await find_start(stage.held, recover=Position(epoch, 10))).recovered is True
        start = await find_start(stage.held, recover=Position(epoch, 9))
        assert start.gap is not None
        assert (start.recovered, start.gap.next, start.gap.reason) == (False, 11, "history_trimmed")

    async def test_recovery_in_an_epoch_that_the_process_has_not_heard_of_is_whole(self) -> None:
        """The position is of another process, which was quicker."""
        stage = Stage()
        await stage.listen()
        await stage.publish(5)
        stage.history.forget()
        stage.top = 0
        epoch = (await stage.append(3)).epoch
        assert stage.held.position.epoch != epoch
        start = await find_start(stage.held, recover=Position(epoch, 2))
        assert (start.recovered, start.cursor.epoch) == (True, epoch)


class TestDelivery:
    """Every publication once and in order."""

    async def test_live_publications_come_as_they_are_published(self) -> None:
        stage, session = Stage(), Session()
        await subscribe(stage, session)
        await stage.publish(3)
        await stage.publish()
        await session.outbox.drained()
        assert session.offsets == [1, 2, 3, 4]
        assert session.check_delivery(after=0) == 4

    async def test_a_recovering_one_gets_the_past_and_then_the_present(self) -> None:
        stage, session = Stage(), Session()
        await stage.append(700)
        await stage.held.hold()
        recover = Position(stage.held.position.epoch, 100)
        start = await find_start(stage.held, recover=recover)
        subscription = await subscribe(stage, session, start)
        assert subscription.state is State.LIVE
        await stage.publish()
        await session.outbox.drained()
        assert session.offsets == list(range(101, 702))

    async def test_a_long_replay_does_not_overrun_a_slow_outbox(self) -> None:
        stage, session = Stage(), Session(limit=5_000)
        await stage.append(600)
        await stage.held.hold()
        session.gate.clear()
        start = await find_start(stage.held, history=600)
        following = asyncio.create_task(subscribe(stage, session, start))
        await settle()
        assert not following.done()
        session.gate.set()
        await asyncio.wait_for(following, 5)
        await session.outbox.drained()
        assert session.offsets == list(range(1, 601))
        assert session.slow == 0
        assert session.most_waiting <= 5_000

    @pytest.mark.parametrize("seed", range(12))
    async def test_catching_up_while_publishing_goes_on_loses_and_repeats_nothing(
        self, seed: int
    ) -> None:
        """The layer loses, repeats and reorders, the socket stutters, the history is trimmed."""
        random_ = random.Random(seed)
        stage = Stage(history_size=random_.choice([40, 100_000]))
        session = Session(limit=random_.choice([2_000, 1_000_000]))
        await stage.append(random_.randint(0, 600))
        await stage.held.hold()
        after = random_.randint(0, stage.top)
        recover = Position(stage.held.position.epoch, after)
        ended = asyncio.Event()

        async def publish() -> None:
            for _ in range(120):
                result = await stage.append(random_.randint(1, 6))
                if random_.random() < 0.9:
                    stage.tell(result, without=result.offsets[: random_.choice([0, 0, 0, 1])])
                if random_.random() < 0.2:
                    stage.tell(result)
                await asyncio.sleep(random_.choice([0, 0, 0.0005, 0.001]))
            ended.set()

        async def stutter() -> None:
            while not ended.is_set():
                session.gate.clear()
                await asyncio.sleep(random_.random() * 0.002)
                session.gate.set()
                await asyncio.sleep(random_.random() * 0.004)

        async def catch_up() -> Subscription:
            start = await find_start(stage.held, recover=recover)
            if start.gap is not None:
                session.messages.append({"type": "gap", "after": after, "next": start.gap.next})
            return await subscribe(stage, session, start)

        _, _, subscription = await asyncio.gather(publish(), stutter(), catch_up())
        stage.held.catch_up()
        await wait_until(lambda: subscription.cursor == stage.top or session.slow)
        await session.outbox.drained()
        told = session.check_delivery(after=after)
        assert told == stage.top or session.slow  # a slow one was ended on the way
        if stage.namespace.history_size == 100_000:
            assert session.offsets == list(range(after + 1, told + 1))

    async def test_falling_behind_the_trimmed_end_while_catching_up_is_a_gap(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(recent, "MAX_ENTRIES", 10)
        stage, session = Stage(history_size=50), Session(limit=1)
        await stage.append(50)
        await stage.held.hold()
        start = Start(50, Position(stage.held.position.epoch, 0))
        session.gate.clear()
        subscription = Subscription(stage.held, outbox=session.outbox, start=start)
        # The first page is in hand, the one after it will have been trimmed.
        following = asyncio.create_task(subscription.follow())
        await settle(0.01)
        await stage.publish(200)
        session.gate.set()
        await asyncio.wait_for(following, 5)
        await session.outbox.drained()
        assert session.check_delivery(after=0) == 250
        gaps = [m for m in session.messages if m["type"] == "gap"]
        assert [(m["reason"], m["next"]) for m in gaps] == [("history_trimmed", 201)]

    async def test_a_new_epoch_is_told_to_live_ones_and_to_those_who_catch_up(self) -> None:
        stage = Stage()
        live, late = Session(), Session(limit=1)
        await stage.append(20)
        await subscribe(stage, live)
        late.gate.clear()
        start = await find_start(stage.held, history=20)
        following = asyncio.create_task(subscribe(stage, late, start))
        await settle(0.01)
        stage.history.forget()
        stage.top = 0
        await stage.append(2)
        stage.held.catch_up()
        await wait_until(lambda: live.offsets == [1, 2])
        late.gate.set()
        await asyncio.wait_for(following, 5)
        await stage.publish()
        await wait_until(lambda: late.offsets[-1] == 3)
        epoch = stage.held.position.epoch
        (gap,) = [m for m in live.messages if m["type"] == "gap"]
        assert (gap["epoch"], gap["after"], gap["next"]) == (epoch, 20, 1)
        (gap,) = [m for m in late.messages if m["type"] == "gap"]
        assert (gap["epoch"], gap["reason"], gap["next"]) == (epoch, "history_lost", 1)
        place = late.messages.index(gap)
        assert gap["after"] == late.messages[place - 1]["offset"]
        assert [m["offset"] for m in late.messages[place + 1 :]] == [1, 2, 3]
        assert live.offsets == [1, 2, 3]

    async def test_those_who_catch_up_together_share_what_is_encoded(self) -> None:
        stage, sessions = Stage(), [Session() for _ in range(3)]
        await stage.append(5)
        await stage.held.hold()
        start = Start(5, Position(stage.held.position.epoch, 0))
        epoch = stage.held.position.epoch
        for session in sessions:
            await subscribe(stage, session, start)
            await session.outbox.drained()
            assert session.offsets == [1, 2, 3, 4, 5]
        one, two = (stage.held.open(epoch=epoch, number=3, body=build_body(3)) for _ in range(2))
        assert one is two
        assert one.frames is two.frames
        assert stage.history.reads == [0]

    async def test_a_history_that_is_down_ends_catching_up(self) -> None:
        stage, session = Stage(), Session()
        await stage.append(5)
        await stage.held.hold()
        start = Start(5, Position(stage.held.position.epoch, 0))
        stage.history.is_down = True
        with pytest.raises(Unavailable):
            await subscribe(stage, session, start)

    async def test_without_a_history_it_is_live_whatever_came_before_its_first_step(self) -> None:
        stage, session = Stage(history_size=0), Session()
        await stage.held.hold()
        following = asyncio.create_task(subscribe(stage, session, Start(0, stage.held.position)))
        stage.held.accept(epoch=None, offset=0, first=0, bodies=[build_body(1)])
        subscription = await asyncio.wait_for(following, 1)
        assert subscription.state is State.LIVE
        stage.held.accept(epoch=None, offset=0, first=0, bodies=[build_body(2)])
        await session.outbox.drained()
        assert [message["data"] for message in session.messages] == [2]

    async def test_one_who_is_ahead_of_the_process_gets_nothing_twice_when_that_skips(
        self,
    ) -> None:
        stage, session = Stage(history_size=5), Session()
        await stage.append(3)
        await stage.held.hold()
        await stage.append(9)  # to 12, not heard; 8 is the first that is retained
        start = await find_start(stage.held, recover=Position(stage.held.position.epoch, 9))
        assert start.recovered is True
        await subscribe(stage, session, start)
        await wait_until(lambda: stage.held.position.offset == 12)
        await session.outbox.drained()
        assert session.offsets == [10, 11, 12]
        assert session.check_delivery(after=9) == 12

    async def test_one_who_is_ahead_of_the_process_is_told_that_the_history_went_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stage, session = Stage(), Session()
        await stage.append(5)
        await stage.held.hold()
        epoch = stage.held.position.epoch
        await stage.append(4)  # to 9, not heard
        with monkeypatch.context() as patch:
            patch.setattr(stage.held, "catch_up", lambda **_: None)  # it takes its time
            start = await find_start(stage.held, recover=Position(epoch, 3))
            following = asyncio.create_task(subscribe(stage, session, start))
            await wait_until(lambda: session.offsets == [4, 5, 6, 7, 8, 9])
            stage.history.set_back(TOPIC, top=7)
            stage.top = 7
            await stage.append(3)  # others in place of 8 and 9, and 10
        stage.held.catch_up()
        await asyncio.wait_for(following, 2)
        await session.outbox.drained()
        (gap,) = [m for m in session.messages if m["type"] == "gap"]
        assert (gap["reason"], gap["after"], gap["next"]) == ("history_lost", 9, 1)
        assert gap["epoch"] != epoch

    async def test_a_skip_over_a_history_that_retains_nothing_hangs_nobody(self) -> None:
        stage, session = Stage(), Session()
        listener = await stage.listen()
        await stage.publish(5)
        await stage.append(3)
        stage.history.expire(TOPIC)
        stage.held.catch_up()
        await wait_until(lambda: listener.heard[5:])
        start = Start(8, Position(stage.held.position.epoch, 5))
        await asyncio.wait_for(subscribe(stage, session, start), 1)
        await session.outbox.drained()
        assert session.check_delivery(after=5) == 8

    async def test_an_ended_one_gets_nothing_more(self) -> None:
        stage, session = Stage(), Session()
        subscription = await subscribe(stage, session)
        await stage.publish()
        subscription.end()
        subscription.end()
        await stage.publish()
        await session.outbox.drained()
        assert session.offsets == [1]
        assert not stage.held.followers
        with pytest.raises(IllegalTransition):
            await subscription.follow()


class TestConflation:
    """Only the newest, at most so often; what was passed over is counted."""

    async def test_with_an_interval_the_newest_wins_and_the_last_one_goes_out(self) -> None:
        stage, session = Stage(), Session()
        await subscribe(stage, session, interval=0.05)
        await stage.publish()
        await stage.publish(3)
        await stage.publish(2)
        await settle(0.02)
        assert session.offsets == [1]
        await wait_until(lambda: len(session.messages) == 2)
        assert session.messages[1]["offset"] == 6
        assert session.messages[1]["skipped"] == 4
        assert "skipped" not in session.messages[0]
        assert session.check_delivery(after=0) == 6
        await settle(0.07)
        assert len(session.messages) == 2
        await stage.publish()
        await settle(0.005)
        assert session.offsets == [1, 6, 7]

    async def test_a_recovering_one_with_an_interval_gets_the_newest_and_the_count(self) -> None:
        stage, session = Stage(), Session()
        await stage.append(600)
        await stage.held.hold()
        recover = Position(stage.held.position.epoch, 10)
        start = await find_start(stage.held, recover=recover)
        await subscribe(stage, session, start, interval=0.02)
        await session.outbox.drained()
        assert [(m["offset"], m["skipped"]) for m in session.messages] == [(600, 589)]
        await stage.publish(2)
        await wait_until(lambda: len(session.messages) == 2)
        assert session.check_delivery(after=10) == 602

    async def test_a_slow_session_of_policy_latest_gets_the_newest_when_it_drained(self) -> None:
        stage, session = Stage(slow="latest"), Session(limit=200)
        await subscribe(stage, session)
        session.gate.clear()
        for _ in range(50):
            await stage.publish()
        await settle(0.01)
        session.gate.set()
        await wait_until(lambda: session.offsets and session.offsets[-1] == 50)
        assert session.slow == 0
        assert len(session.messages) < 6
        assert session.check_delivery(after=0) == 50

    async def test_a_session_that_cannot_be_served_is_closed_and_no_other(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stage, broken, whole = Stage(), Session(), Session()
        await subscribe(stage, broken)
        await subscribe(stage, whole)
        await stage.publish()
        await settle()
        with monkeypatch.context() as patch:
            patch.setattr(broken.outbox, "has_room", None)
            patch.setattr(broken.outbox, "put", None)
            await stage.publish()
        await stage.publish(2)
        await settle()
        assert (broken.offsets, broken.closed) == ([1], 3011)
        assert (whole.offsets, whole.closed) == ([1, 2, 3, 4], None)
        assert len(stage.held.followers) == 1

    async def test_a_slow_session_of_policy_disconnect_is_told(self) -> None:
        stage, session = Stage(), Session(limit=200)
        await subscribe(stage, session)
        session.gate.clear()
        for _ in range(50):
            await stage.publish()
        assert session.slow

    async def test_a_loss_sends_what_was_held_back_first(self) -> None:
        stage, session = Stage(history_size=2), Session()
        await subscribe(stage, session, interval=10)
        await stage.publish()
        await stage.publish(2)  # held back
        await stage.append(20)
        await stage.publish()
        await wait_until(lambda: any(m["type"] == "gap" for m in session.messages))
        assert [m.get("offset", m.get("after")) for m in session.messages[:3]] == [1, 3, 3]
        assert session.check_delivery(after=0) == 22

    @pytest.mark.parametrize("seed", range(4))
    async def test_skipped_always_adds_up(self, seed: int) -> None:
        random_ = random.Random(seed)
        stage = Stage(slow="latest", history_size=50)
        session = Session(limit=300)
        await subscribe(stage, session, interval=random_.choice([0, 0.002]))
        for _ in range(100):
            result = await stage.append(random_.randint(1, 5))
            if random_.random() < 0.9:
                stage.tell(result)
            if random_.random() < 0.2:
                session.gate.clear() if session.gate.is_set() else session.gate.set()
            await asyncio.sleep(random_.choice([0, 0.001]))
        session.gate.set()
        stage.held.catch_up()
        await wait_until(lambda: session.messages and session.offsets[-1:] == [stage.top])
        assert session.slow == 0
        assert session.check_delivery(after=0) == stage.top
