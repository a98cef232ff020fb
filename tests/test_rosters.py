"""Rosters of several instances over one store and one layer that a test can break."""

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from realtime import rosters as module
from realtime.conf import build_settings
from realtime.core.errors import Unavailable
from realtime.core.topics import Topic
from realtime.frames import Frames
from realtime.presence import Change, Member, Snapshot
from realtime.presence.leases import DEAD_AFTER
from realtime.presence.memory import MemoryPresence
from realtime.roster import MOST_TOLD
from realtime.rosters import Rosters
from tests.topics import wait_until
from tests.virtual_time import virtual_time as virtual_time

pytestmark = pytest.mark.usefixtures("virtual_time")

TOPIC = Topic("room", "a")
OTHER_TOPIC = Topic("room", "b")


class Mailbox:
    """What one session is told; `room` is what its outbox could take."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.frames: list[Frames] = []
        self.room = 10**9

    def has_room(self, size: int) -> bool:
        return size <= self.room

    def put(self, frames: Frames) -> None:
        self.frames.append(frames)
        for text in frames.messages:
            message = json.loads(text)
            assert message["topic"].startswith("room:")
            self.told.append((message["type"], message["session"]))

    def take(self) -> list[tuple[str, str]]:
        told, self.told = self.told, []
        return told


class World:
    """What the instances share."""

    def __init__(self) -> None:
        self.store = MemoryPresence()
        self.leases: set[str] = set()
        self.is_down = False
        self.instances: dict[str, Instance] = {}
        self.writes: list[Sequence[Change]] = []
        self.sent: list[dict[str, Any]] = []
        self.loses_messages = False
        self.holds_reads: asyncio.Event | None = None

    def flush(self) -> None:
        """FLUSHALL."""
        self.store = MemoryPresence()
        self.leases.clear()

    async def start(self, *names: str) -> "list[Instance]":
        started = []
        for name in names:
            self.instances[name] = Instance(self, name)
            started.append(self.instances[name])
        return started


class Store(MemoryPresence):
    """One instance's view of the shared store, with leases that only tests end."""

    is_shared = True

    def __init__(self, world: World, instance: str) -> None:
        self.world = world
        self.instance = instance
        self.reads = 0

    async def write(self, changes: Sequence[Change]) -> list[int]:
        self._check()
        self.world.writes.append(changes)
        return await self.world.store.write(changes)

    async def read(
        self, topics: Sequence[Topic], *, instances: Collection[str] = ()
    ) -> list[Snapshot]:
        self._check()
        self.reads += len(topics)
        found = await self.world.store.read(topics)
        if self.world.holds_reads is not None:
            await self.world.holds_reads.wait()
        named = {member.instance for snapshot in found for member in snapshot.members}
        absent = frozenset(named | set(instances)) - self.world.leases
        return [Snapshot(snapshot.version, snapshot.members, absent) for snapshot in found]

    async def read_versions(self, topics: Sequence[Topic]) -> list[int]:
        self._check()
        return await self.world.store.read_versions(topics)

    async def take_lease(self) -> None:
        self._check()
        self.world.leases.add(self.instance)

    async def renew_lease(self) -> bool:
        self._check()
        return self.instance in self.world.leases

    async def end_lease(self) -> None:
        self._check()
        self.world.leases.discard(self.instance)

    async def find_alive(self, instances: Collection[str]) -> set[str]:
        self._check()
        return set(instances) & self.world.leases

    async def forget(self, instance: str, sessions: Mapping[Topic, Collection[str]]) -> None:
        self._check()
        if instance not in self.world.leases:
            changes = [Change(topic, left=list(gone)) for topic, gone in sessions.items()]
            await self.world.store.write(changes)

    async def close(self) -> None:
        pass

    def _check(self) -> None:
        if self.world.is_down:
            raise Unavailable("the store is down")


class Layer:
    """Brings messages to every other instance, as long as the world lets it."""

    is_shared = True

    def __init__(self, world: World) -> None:
        self.world = world

    async def send(self, group: str, message: dict[str, Any]) -> None:
        if self.world.is_down:
            raise Unavailable("the layer is down")
        self.world.sent.append(message)
        if not self.world.loses_messages:
            for instance in self.world.instances.values():
                instance.rosters.hear(message)  # the sender too, as a real layer does


class Instance:
    """One process: its rosters, and its sessions' mailboxes."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.world = world
        self.store = Store(world, name)
        self.mailboxes: dict[str, Mailbox] = {}
        self.rosters = Rosters(
            settings=build_settings({}),
            instance=name,
            layer=Layer(world),  # type: ignore[arg-type]
            store=self.store,
        )

    def join(self, *sessions: str, topic: Topic = TOPIC) -> Mailbox:
        for session in sessions:
            mailbox = self.mailboxes[session] = Mailbox()
            self.rosters.join(topic, session=session, user=f"user of {session}", mailbox=mailbox)
        return mailbox

    def leave(self, *sessions: str, topic: Topic = TOPIC) -> None:
        for session in sessions:
            self.rosters.leave(topic, session)

    async def settle(self) -> None:
        """Read what is new, write what changed, tell the sessions."""
        await self.rosters.read()
        await self.rosters.save()
        self.rosters.tell()

    async def look(self, times: int = 1) -> None:
        """The looks of so many seconds, without what they lead to."""
        for _ in range(times):
            await self.rosters.renew_lease()
            await self.rosters.check_instances()
        self.rosters.tell()

    async def compare(self) -> None:
        """Compare versions, and what that leads to."""
        await self.rosters.check_versions()
        await self.settle()

    async def members(self, topic: Topic = TOPIC) -> set[str]:
        return {member.session for member in await self.rosters.read_members(topic)}


async def settle(*instances: Instance) -> None:
    """Let all that has happened become known everywhere."""
    for instance in instances:
        await instance.settle()
    for instance in instances:
        await instance.settle()


@pytest.fixture
def world() -> World:
    return World()


async def stored(world: World, topic: Topic = TOPIC) -> set[str]:
    (snapshot,) = await world.store.read([topic])
    return {member.session for member in snapshot.members}


async def wait_for_members(world: World, expected: set[str]) -> None:
    """Wait until the store and all instances have the same members."""
    async with asyncio.timeout(15):
        while not (
            await stored(world) == expected
            and all([await one.members() == expected for one in world.instances.values()])
        ):
            await asyncio.sleep(0.002)


class TestOneInstance:
    async def test_those_who_are_here_hear_who_comes_and_goes_but_not_of_themselves(
        self, world: World
    ) -> None:
        (one,) = await world.start("one")
        first = one.join("s1")
        await one.settle()
        assert first.take() == []
        second = one.join("s2")
        await one.settle()
        assert first.take() == [("join", "s2")]
        assert second.take() == []
        one.leave("s1")
        await one.settle()
        assert second.take() == [("leave", "s1")]
        assert first.take() == []

    async def test_a_session_is_in_the_answer_at_once_and_out_of_it_at_once(
        self, world: World
    ) -> None:
        (one,) = await world.start("one")
        one.join("s1")
        one.join("s2")
        assert await one.members() == {"s1", "s2"}  # neither read nor written yet
        await one.settle()
        one.leave("s1")
        assert await one.members() == {"s2"}

    async def test_the_answer_begins_with_the_oldest(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "time", SimpleNamespace(time=itertools.count(1).__next__))
        (one,) = await world.start("one")
        one.join("s3")
        one.join("s1")
        one.join("s2")
        members = await one.rosters.read_members(TOPIC)
        assert [member.session for member in members] == ["s3", "s1", "s2"]
        assert members[0] == Member("s3", "one", "user of s3", 1_000_000)

    async def test_who_comes_and_goes_within_a_batch_is_neither_told_nor_written(
        self, world: World
    ) -> None:
        (one,) = await world.start("one")
        first = one.join("s1")
        await one.settle()
        world.writes.clear()
        one.join("s2")
        one.leave("s2")
        await one.settle()
        assert first.take() == []
        assert world.writes == []

    async def test_a_batch_is_one_write_and_one_item_for_each_outbox(self, world: World) -> None:
        (one,) = await world.start("one")
        first = one.join("s1")
        await one.settle()
        world.writes.clear()
        one.join("s2", "s3", "s4")
        await one.settle()
        assert len(world.writes) == 1
        assert [len(frames.messages) for frames in first.frames] == [3]

    async def test_all_share_the_same_encoded_frames(self, world: World) -> None:
        (one,) = await world.start("one")
        first, second = one.join("s1"), one.join("s2")
        await one.settle()
        one.join("s3")
        await one.settle()
        assert first.frames[-1] is second.frames[-1]

    async def test_above_the_limit_nobody_is_told(self, world: World) -> None:
        (one,) = await world.start("one")
        first = one.join("s0")
        one.join(*(f"s{n}" for n in range(1, MOST_TOLD)))
        await one.settle()
        assert len(first.take()) == MOST_TOLD - 1
        one.join("one more")
        await one.settle()
        assert first.take() == []
        one.leave("one more")
        await one.settle()
        assert first.take() == []
        one.leave("s1")
        await one.settle()
        assert first.take() == [("leave", "s1")]

    async def test_a_hint_leaves_half_of_an_outbox_free(self, world: World) -> None:
        (one,) = await world.start("one")
        full, free = one.join("s1"), one.join("s2")
        await one.settle()
        full.take(), free.take()
        full.room = build_settings({}).outbox_bytes // 2
        free.room = full.room + 1000
        one.join("s3")
        await one.settle()
        assert (full.take(), free.take()) == ([], [("join", "s3")])

    async def test_topics_are_apart(self, world: World) -> None:
        (one,) = await world.start("one")
        here, there = one.join("s1"), one.join("s2", topic=OTHER_TOPIC)
        await one.settle()
        one.join("s3")
        await one.settle()
        assert (here.take(), there.take()) == ([("join", "s3")], [])
        assert await one.members(OTHER_TOPIC) == {"s2"}

    async def test_after_the_last_one_nothing_is_kept(self, world: World) -> None:
        (one,) = await world.start("one")
        one.join("s1")
        await one.settle()
        one.leave("s1")
        await one.settle()
        assert one.rosters._rosters == {}
        assert await stored(world) == set()
        assert await one.members() == set()

    async def test_leaving_without_having_come_does_nothing(self, world: World) -> None:
        (one,) = await world.start("one")
        one.leave("s1")
        await one.settle()
        assert world.writes == []


class TestManyInstances:
    async def test_what_happens_on_one_is_told_on_the_other(self, world: World) -> None:
        one, two = await world.start("one", "two")
        first, second = one.join("s1"), two.join("s2")
        await settle(one, two)
        first.take(), second.take()
        one.join("s3")
        two.join("s4")
        await settle(one, two)
        assert set(first.take()) == {("join", "s3"), ("join", "s4")}
        assert set(second.take()) == {("join", "s3"), ("join", "s4")}
        one.leave("s3")
        await settle(one, two)
        assert (first.take(), second.take()) == ([("leave", "s3")],) * 2
        assert await one.members() == await two.members() == {"s1", "s2", "s4"}

    async def test_a_batch_is_one_message_for_each_topic(self, world: World) -> None:
        one, two = await world.start("one", "two")
        two.join("s0")
        one.join("s1", "s2", "s3")
        one.join("s4", topic=OTHER_TOPIC)
        await one.settle()
        assert [(m["topic"], len(m["joined"])) for m in world.sent] == [
            ("room:a", 3),
            ("room:b", 1),
        ]

    async def test_messages_carry_only_text_numbers_and_bytes(self, world: World) -> None:
        (one,) = await world.start("one")
        one.join("s1", "s2")
        await one.settle()
        one.leave("s1")
        await one.settle()
        joined, left = world.sent
        assert joined.keys() == {"type", "topic", "instance", "version", "joined", "left"}
        assert {type(value) for value in joined["joined"].values()} == {bytes}
        assert left["left"] == ["s1"]

    async def test_who_was_there_before_is_known_but_not_told(self, world: World) -> None:
        one, two = await world.start("one", "two")
        one.join("s1", "s2")
        await one.settle()
        late = two.join("s3")
        await two.settle()
        assert await two.members() == {"s1", "s2", "s3"}
        assert late.take() == []

    async def test_somebody_elsewhere_counts_towards_the_limit(self, world: World) -> None:
        one, two = await world.start("one", "two")
        one.join(*(f"s{n}" for n in range(MOST_TOLD)))
        await one.settle()
        lone = two.join("lone")
        await two.settle()
        two.join("one more")
        await settle(one, two)
        assert lone.take() == []

    async def test_what_is_heard_while_the_roster_is_read_is_not_lost(self, world: World) -> None:
        one, two = await world.start("one", "two")
        one.join("s1", "s2")
        await one.settle()
        watcher = two.join("s3")
        world.holds_reads = asyncio.Event()
        reading = asyncio.create_task(two.rosters.read())
        await asyncio.sleep(0)
        one.leave("s1")
        one.join("s4")
        await one.rosters.save()  # after the snapshot was taken, before it is there
        world.holds_reads.set()
        await reading
        two.rosters.tell()
        assert await two.members() == {"s2", "s3", "s4"}
        assert set(watcher.take()) == {("leave", "s1"), ("join", "s4")}
        await settle(one, two)
        before = two.store.reads
        await two.compare()
        assert two.store.reads == before  # nothing is in doubt

    async def test_too_much_while_it_is_read_means_reading_again(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("realtime.roster.MAX_EARLY", 2)
        one, two = await world.start("one", "two")
        one.join("s0")
        await one.settle()
        two.join("t0")
        world.holds_reads = asyncio.Event()
        reading = asyncio.create_task(two.rosters.read())
        await asyncio.sleep(0)
        for n in range(1, 6):
            one.join(f"s{n}")
            await one.rosters.save()
        world.holds_reads.set()
        await reading
        assert two.rosters._has_unread.is_set()
        await two.settle()
        assert await two.members() == {"t0", *(f"s{n}" for n in range(6))}

    async def test_without_subscribers_here_the_store_is_asked(self, world: World) -> None:
        one, two = await world.start("one", "two")
        one.join("s1")
        await one.settle()
        assert await two.members() == {"s1"}
        world.leases.clear()
        assert await two.members() == set()  # nobody answers for it

    async def test_a_clean_end_takes_everybody_off_at_once(self, world: World) -> None:
        one, two = await world.start("one", "two")
        watcher = two.join("s3")
        one.join("s1", "s2")
        one.join("s4", topic=OTHER_TOPIC)
        await settle(one, two)
        watcher.take()
        world.writes.clear()
        await one.rosters.close()
        two.rosters.tell()
        assert set(watcher.take()) == {("leave", "s1"), ("leave", "s2")}
        assert len(world.writes) == 1
        assert world.leases == {"two"}
        assert await stored(world, OTHER_TOPIC) == set()


class TestLostMessages:
    async def test_the_versions_show_what_was_missed_and_it_is_told(self, world: World) -> None:
        one, two = await world.start("one", "two")
        watcher = one.join("s1")
        two.join("s2")
        await settle(one, two)
        watcher.take()
        world.loses_messages = True
        two.leave("s2")  # one goes and one comes: there are as many as before
        two.join("s3")
        await two.settle()
        assert await one.members() == {"s1", "s2"}
        await one.compare()
        assert set(watcher.take()) == {("leave", "s2"), ("join", "s3")}
        assert await one.members() == {"s1", "s3"}

    async def test_nothing_is_read_again_while_nothing_is_missed(self, world: World) -> None:
        one, two = await world.start("one", "two")
        one.join("s1")
        two.join("s2")
        await settle(one, two)
        for n in range(5):
            one.join(f"a{n}")
            two.leave("s2") if n == 3 else two.join(f"b{n}")
            await settle(one, two)
            if n == 0:  # where the versions begin
                await one.compare()
                await two.compare()
                reads = one.store.reads, two.store.reads
        await one.compare()
        await two.compare()
        assert (one.store.reads, two.store.reads) == reads

    async def test_what_the_store_has_lost_is_written_again(self, world: World) -> None:
        one, two = await world.start("one", "two")
        one.join("s1")
        two.join("s2")
        await settle(one, two)
        world.store = MemoryPresence()  # the leases stay
        await one.compare()
        await two.compare()
        assert await stored(world) == {"s1", "s2"}
        await one.compare()
        assert await one.members() == await two.members() == {"s1", "s2"}

    async def test_a_trace_of_a_session_that_has_gone_is_removed(self, world: World) -> None:
        (one,) = await world.start("one")
        one.join("s1")
        await one.settle()
        await world.store.write([Change(TOPIC, [Member("ghost", "one", None, 1)])])
        await one.compare()
        assert await stored(world) == await one.members() == {"s1"}


class TestOutage:
    async def test_what_happened_meanwhile_is_written_after_it(self, world: World) -> None:
        one, two = await world.start("one", "two")
        one.join("s1", "s2")
        watcher = two.join("s3")
        await settle(one, two)
        watcher.take()
        world.is_down = True
        one.join("s4")
        one.join("s5")
        one.leave("s2")
        for _ in range(2):
            with pytest.raises(Unavailable):
                await one.rosters.save()
            one.leave("s5") if "s5" in await one.members() else None
        assert await one.members() == {"s1", "s3", "s4"}
        world.is_down = False
        await settle(one, two)
        assert await stored(world) == await two.members() == {"s1", "s3", "s4"}
        assert set(watcher.take()) == {("join", "s4"), ("leave", "s2")}

    async def test_more_changes_than_are_kept_are_found_by_reading(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("realtime.roster.MAX_UNSAVED", 10)
        (one,) = await world.start("one")
        one.join(*(f"s{n}" for n in range(40)))
        await one.settle()
        world.is_down = True
        one.leave(*(f"s{n}" for n in range(40)))
        one.join("last")
        with pytest.raises(Unavailable):
            await one.rosters.save()
        assert not next(iter(one.rosters._rosters.values())).is_unsaved
        assert one.rosters._has_unread.is_set()
        world.is_down = False
        await one.settle()
        assert await stored(world) == {"last"}
        one.leave("last")
        await one.settle()
        assert one.rosters._rosters == {}

    async def test_a_roster_that_was_never_read_is_no_answer(self, world: World) -> None:
        (one,) = await world.start("one")
        world.is_down = True
        one.join("s1")
        with pytest.raises(Unavailable):
            await one.members()

    async def test_a_known_roster_answers_during_an_outage(self, world: World) -> None:
        one, two = await world.start("one", "two")
        one.join("s1")
        two.join("s2")
        await settle(one, two)
        world.is_down = True
        assert await one.members() == {"s1", "s2"}

    async def test_the_tasks_go_on_after_an_outage(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "RETRY_DELAY", 0.005)
        monkeypatch.setattr(module, "BATCH_DELAY", 0.001)
        one, two = await world.start("one", "two")
        for instance in (one, two):
            instance.rosters._look_delay = 0.005
        tasks = [
            asyncio.create_task(run())
            for rosters in (one.rosters, two.rosters)
            for run in (rosters.save_forever, rosters.read_forever, rosters.watch_forever)
        ]
        world.is_down = True
        one.join("s1")
        watcher = two.join("s2")
        await asyncio.sleep(0.05)
        assert await stored(world) == set()
        world.is_down = False
        await wait_until(lambda: ("join", "s1") in watcher.told)
        await wait_for_members(world, {"s1", "s2"})
        world.flush()
        await wait_until(lambda: len(world.leases) == 2)
        await wait_for_members(world, {"s1", "s2"})
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)

    async def test_a_task_that_begins_again_after_a_failure_finds_what_was_left(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "BATCH_DELAY", 0.001)
        (one,) = await world.start("one")
        one.join("s1")

        async def fail(*_: Any, **__: Any) -> Any:
            raise TypeError("a bad answer")

        with monkeypatch.context() as patch:
            for name in ("write", "read"):
                patch.setattr(one.rosters._store, name, fail)
            for run in (one.rosters.save_forever, one.rosters.read_forever):
                with pytest.raises(TypeError):
                    await asyncio.wait_for(run(), 30)
        one.rosters._has_unsaved.clear()
        one.rosters._has_unread.clear()
        tasks = [
            asyncio.create_task(run())
            for run in (one.rosters.save_forever, one.rosters.read_forever)
        ]
        await wait_for_members(world, {"s1"})
        await wait_until(lambda: all(r.is_loaded for r in one.rosters._rosters.values()))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class TestLeases:
    async def test_a_lease_is_taken_after_the_members_are_written(self, world: World) -> None:
        (one,) = await world.start("one")
        await one.settle()
        assert world.leases == set()  # nothing to claim
        one.join("s1")
        world.is_down = True
        with pytest.raises(Unavailable):
            await one.rosters.save()
        world.is_down = False
        await one.settle()
        assert world.leases == {"one"}

    async def test_the_members_of_a_dead_instance_go_and_are_told(self, world: World) -> None:
        one, two = await world.start("one", "two")
        watcher = one.join("s1")
        two.join("s2", "s3")
        await settle(one, two)
        watcher.take()
        world.leases.discard("two")
        await one.look(DEAD_AFTER - 1)
        assert watcher.take() == []
        assert await one.members() == {"s1", "s2", "s3"}
        await one.look()
        assert set(watcher.take()) == {("leave", "s2"), ("leave", "s3")}
        assert await one.members() == await stored(world) == {"s1"}

    async def test_an_instance_that_is_only_late_stays(self, world: World) -> None:
        one, two = await world.start("one", "two")
        watcher = one.join("s1")
        two.join("s2")
        await settle(one, two)
        watcher.take()
        for _ in range(3):
            world.leases.discard("two")
            await one.look(DEAD_AFTER - 1)
            world.leases.add("two")
            await one.look()
        assert watcher.take() == []

    async def test_an_instance_that_was_taken_for_dead_comes_back_whole(self, world: World) -> None:
        one, two = await world.start("one", "two")
        watcher = one.join("s1")
        two.join("s2", "s3")
        two.join("s4", topic=OTHER_TOPIC)
        await settle(one, two)
        world.leases.discard("two")
        await one.look(DEAD_AFTER)
        watcher.take()
        await two.look()
        await settle(two, one)
        assert set(watcher.take()) == {("join", "s2"), ("join", "s3")}
        assert await stored(world) == {"s1", "s2", "s3"}
        assert await stored(world, OTHER_TOPIC) == {"s4"}
        assert world.leases == {"one", "two"}

    async def test_nobody_is_missing_at_any_time_after_everything_was_flushed(
        self, world: World
    ) -> None:
        one, two = await world.start("one", "two")
        watcher = one.join("s1")
        two.join("s2", "s3")
        await settle(one, two)
        watcher.take()
        world.flush()
        await one.look()
        await one.settle()  # it reads a store that has nobody of the other instance yet
        await one.compare()
        assert await one.members() == {"s1", "s2", "s3"}
        await two.look()
        await settle(two, one)
        await one.look(DEAD_AFTER)
        assert await one.members() == await two.members() == {"s1", "s2", "s3"}
        assert await stored(world) == {"s1", "s2", "s3"}
        assert watcher.take() == []

    async def test_a_member_seen_before_the_lease_is_shown_when_the_lease_is_there(
        self, world: World
    ) -> None:
        (one,) = await world.start("one")
        await world.store.write([Change(TOPIC, [Member("s2", "two", None, 1)])])
        one.join("s1")
        await one.settle()
        assert await one.members() == {"s1"}
        world.leases.add("two")
        await one.look()
        assert await one.members() == {"s1", "s2"}

    async def test_traces_of_an_instance_that_died_unseen_are_removed_untold(
        self, world: World
    ) -> None:
        await world.store.write([Change(TOPIC, [Member("old", "dead", None, 1)])])
        (one,) = await world.start("one")
        watcher = one.join("s1")
        await one.settle()
        assert await one.members() == {"s1"}
        await one.look(DEAD_AFTER)
        assert await one.members() == await stored(world) == {"s1"}
        assert watcher.take() == []

    async def test_members_deleted_while_their_instance_came_back_are_written_again(
        self, world: World
    ) -> None:
        one, two = await world.start("one", "two")
        one.join("s1")
        two.join("s2")
        await settle(one, two)
        world.leases.discard("two")
        await one.look(DEAD_AFTER - 1)
        await two.rosters.renew_lease()
        forget = one.store.forget

        async def forget_late(instance: str, sessions: Any) -> None:
            # The other one has written its members anew, but has no lease yet.
            await two.store.write([Change(TOPIC, [Member("s2", "two", None, 1)])])
            await forget(instance, sessions)

        one.store.forget = forget_late  # type: ignore[method-assign]
        await one.look()
        two.rosters._leases.has_own = True
        world.leases.add("two")
        await two.compare()
        await one.compare()
        assert await stored(world) == {"s1", "s2"}
        assert await one.members() == {"s1", "s2"}


async def test_telling_takes_a_short_time_in_one_go_and_comes_less_often_where_it_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (one,) = await World().start("one")
    watchers = {}
    for topic in (TOPIC, OTHER_TOPIC):
        watchers[topic] = Mailbox()
        one.rosters.join(topic, session=f"watcher {topic}", user=None, mailbox=watchers[topic])
    await asyncio.sleep(1)
    ticks = itertools.count()
    monkeypatch.setattr(module, "thread_time", lambda: next(ticks) * 0.03)  # of each roster

    def list_told() -> list[Topic]:
        return [topic for topic, watcher in watchers.items() if watcher.take()]

    for topic in watchers:
        one.rosters.join(topic, session=f"comes {topic}", user=None, mailbox=Mailbox())
    await asyncio.sleep(0.06)
    assert list_told() == [TOPIC]
    await asyncio.sleep(0.03 / module.TELL_SHARE - 0.02)
    assert list_told() == []
    await asyncio.sleep(0.02)
    assert list_told() == [OTHER_TOPIC]
    one.rosters.leave(TOPIC, f"comes {TOPIC}")
    one.rosters.join(TOPIC, session="flaps", user=None, mailbox=Mailbox())
    await asyncio.sleep(0.1)
    assert list_told() == []
    one.rosters.leave(TOPIC, "flaps")  # nobody hears of it at all
    await asyncio.sleep(0.1)
    assert watchers[TOPIC].take() == [("leave", f"comes {TOPIC}")]


ACTIONS = (
    *("join", "join", "leave", "save", "save", "read"),
    *("look", "compare", "lose", "flush", "down"),
)


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_gets_lost_all_rosters_are_true_in_the_end(seed: int) -> None:
    dice = random.Random(seed)
    world = World()
    instances = await world.start("one", "two", "three")
    here: dict[Instance, set[str]] = {instance: set() for instance in instances}
    numbers = itertools.count()
    for _ in range(80):
        instance = dice.choice(instances)
        match dice.choice(ACTIONS):
            case "join":
                session = f"{instance.name}-{next(numbers)}"
                instance.join(session)
                here[instance].add(session)
            case "leave" if here[instance]:
                session = dice.choice(sorted(here[instance]))
                instance.leave(session)
                here[instance].remove(session)
            case "lose":
                world.loses_messages = dice.random() < 0.5
            case "flush" if dice.random() < 0.3:
                world.flush()
            case "down":
                world.is_down = dice.random() < 0.3
            case action:
                with contextlib.suppress(Unavailable):
                    await perform(instance, action)
        for other in instances:  # its own sessions an instance always knows
            roster = other.rosters._rosters.get(TOPIC)
            assert roster is None or roster.local.keys() == here[other]
            assert roster is None or here[other] <= roster.members.keys()
    world.is_down = world.loses_messages = False
    for _ in range(DEAD_AFTER + 2):
        for instance in instances:
            await instance.look()
        for instance in instances:
            await instance.compare()
    everybody = set().union(*here.values())
    assert await stored(world) == everybody
    for instance in instances:
        assert await instance.members() == everybody
        for session in here[instance]:  # what was told comes to the same as what is true
            mailbox = instance.mailboxes[session]
            known = [other for type, other in mailbox.told if type == "join"]
            gone = [other for type, other in mailbox.told if type == "leave"]
            assert session not in known
            assert {other for other in known if gone.count(other) < known.count(other)} <= everybody
            assert not everybody & {
                other for other in gone if known.count(other) < gone.count(other)
            }


async def perform(instance: Instance, action: str) -> None:
    match action:
        case "save":
            await instance.rosters.save()
            instance.rosters.tell()
        case "read":
            await instance.rosters.read()
        case "look":
            await instance.look()
        case "compare":
            await instance.rosters.check_versions()
