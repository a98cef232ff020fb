"""What every history does, held against both stores; and what the one in memory adds."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import numpy as np
import pytest

from realtime.conf import build_settings
from realtime.core.entries import Entry, decode_head, encode_entry
from realtime.core.errors import Unavailable
from realtime.core.npy import HEADER_LIMIT
from realtime.core.topics import Topic
from realtime.history import Accepted, History, Size
from realtime.history import log as log_module
from realtime.history.base import HEAD_BYTES, NO_EPOCH, PAGE_BYTES
from realtime.history.log import ENTRY_BYTES, ID_BYTES, TOPIC_BYTES
from realtime.history.memory import EVICTION_STEPS, MemoryHistory
from tests.clients import open_client, save_array
from tests.history.conftest import Writer
from tests.servers import Project, Server

Write = Callable[..., Writer]


def check(results: list[Accepted | Unavailable]) -> list[Accepted]:
    assert all(isinstance(result, Accepted) for result in results), results
    return results  # type: ignore[return-value]


class TestContract:
    """Memory and Redis alike."""

    async def test_offsets_begin_at_1_and_rise_by_1_within_one_epoch(self, write: Write) -> None:
        log = write()
        first = await log.append(b"a", b"b")
        second = await log.append(b"c")
        assert (list(first.offsets), list(second.offsets)) == ([1, 2], [3])
        assert first.epoch == second.epoch
        page = await log.read()
        assert (page.epoch, page.first, page.top, page.start) == (first.epoch, 1, 3, 1)
        assert list(page.bodies) == [b"a", b"b", b"c"]

    async def test_bodies_are_any_bytes(self, write: Write) -> None:
        log = write()
        bodies = [b"", b"\x00", b"\xff" * 70_000, bytes(range(256))]
        await log.append(*bodies)
        assert list((await log.read()).bodies) == bodies

    async def test_a_body_may_be_a_view(self, write: Write) -> None:
        log, body = write(history_bytes=150_000), memoryview(b"x" * 70_000).toreadonly()
        await log.append(body)
        assert list((await log.read()).bodies) == [body]
        await log.append(body, body)  # it counts by its bytes
        assert (await log.read(limit=1)).first == 2

    async def test_concurrent_appends_each_get_offsets_of_their_own(self, write: Write) -> None:
        log = write()
        results = await asyncio.gather(*(log.append(b"%d" % n, b"%d" % n) for n in range(40)))
        offsets = sorted(offset for result in results for offset in result.offsets)
        assert offsets == list(range(1, 81))
        bodies = list((await log.read()).bodies)
        for n, result in enumerate(results):  # a batch is whole
            first, second = result.offsets
            assert second == first + 1
            assert bodies[first - 1] == bodies[second - 1] == b"%d" % n

    async def test_batches_of_several_topics_go_in_one_call(
        self, write: Write, history: History
    ) -> None:
        one, two = write("-1"), write("-2")
        await two.append(b"x")
        results = check(await history.append([one.batch(b"a", b"b"), two.batch(b"c")]))
        assert [list(result.offsets) for result in results] == [[1, 2], [2]]
        assert results[0].epoch != results[1].epoch

    async def test_no_batches_are_no_work(self, history: History) -> None:
        assert await history.append([]) == []
        assert await history.read_tops([]) == []

    async def test_an_id_is_published_once_across_batches(self, write: Write) -> None:
        log = write()
        first = await log.append((b"a", "one"), b"b")
        again = await log.append((b"other data", "one"), (b"c", "two"))
        assert first.duplicates == frozenset()
        assert (list(again.offsets), again.duplicates) == ([1, 3], {0})
        assert list((await log.read()).bodies) == [b"a", b"b", b"c"]

    async def test_an_id_is_published_once_within_a_batch(self, write: Write) -> None:
        log = write()
        result = await log.append((b"a", "x"), (b"b", "y"), (b"c", "x"), b"d", (b"e", "y"))
        assert (list(result.offsets), result.duplicates) == ([1, 2, 1, 3, 2], {2, 4})
        assert list((await log.read()).bodies) == [b"a", b"b", b"d"]

    async def test_a_batch_of_nothing_but_repeats_changes_nothing(self, write: Write) -> None:
        log = write()
        await log.append((b"a", "x"))
        result = await log.append((b"a", "x"), (b"a", "x"))
        assert (list(result.offsets), result.duplicates, result.first) == ([1, 1], {0, 1}, 1)
        assert (await log.read()).top == 1

    async def test_the_same_id_on_another_topic_is_another_publication(self, write: Write) -> None:
        one, two = write("-1"), write("-2")
        await one.append((b"a", "x"))
        assert (await two.append((b"a", "x"))).duplicates == frozenset()

    async def test_an_id_is_known_after_its_publication_was_trimmed(self, write: Write) -> None:
        log = write(history_size=1)
        await log.append((b"a", "x"))
        await log.append(b"b")
        again = await log.append((b"a", "x"))
        assert (list(again.offsets), again.duplicates) == ([1], {0})

    async def test_the_oldest_go_beyond_the_size(self, write: Write) -> None:
        log = write(history_size=3)
        assert (await log.append(b"1", b"2", b"3")).first == 1
        assert (await log.append(b"4")).first == 2
        assert (await log.append(*(b"%d" % n for n in range(5, 105)))).first == 102
        page = await log.read()
        assert (page.first, page.start, page.top) == (102, 102, 104)
        assert list(page.bodies) == [b"102", b"103", b"104"]

    async def test_the_oldest_go_beyond_the_bytes(self, write: Write) -> None:
        log = write(history_bytes=100)
        await log.append(b"a" * 40, b"b" * 40)
        assert (await log.append(b"c" * 20)).first == 1
        assert (await log.append(b"d" * 30)).first == 2
        assert [body[:1] for body in (await log.read()).bodies] == [b"b", b"c", b"d"]

    async def test_the_newest_always_stays(self, write: Write) -> None:
        log = write(history_bytes=10)
        assert (await log.append(b"x" * 100, b"y" * 200)).first == 2
        page = await log.read()
        assert (page.first, page.top, [len(body) for body in page.bodies]) == (2, 2, [200])
        assert (await log.append(b"z")).first == 3

    async def test_bytes_are_counted_right_over_many_trims(self, write: Write) -> None:
        log = write(history_bytes=1000, history_size=1000)
        sizes = [(n * 37) % 400 for n in range(120)]
        for start in range(0, 120, 7):
            result = await log.append(*(b"x" * size for size in sizes[start : start + 7]))
        kept, total = 0, 0
        for size in reversed(sizes):
            total += size
            if kept and total > 1000:
                break
            kept += 1
        assert result.first == 120 - kept + 1
        page = await log.read()
        assert [len(body) for body in page.bodies] == sizes[-kept:]

    async def test_history_goes_after_its_time_and_offsets_go_on(self, write: Write) -> None:
        log = write(history_ttl=1)
        before = await log.append((b"a", "x"), b"b")
        await asyncio.sleep(1.1)
        page = await log.read()
        assert (page.epoch, page.first, page.top, list(page.bodies)) == (before.epoch, 3, 2, [])
        after = await write().append(b"c")
        assert (after.epoch, list(after.offsets), after.first) == (before.epoch, [3], 3)
        page = await log.read()
        assert (page.first, page.start, list(page.bodies)) == (3, 3, [b"c"])

    async def test_an_append_after_that_time_does_not_bring_the_past_back(
        self, write: Write
    ) -> None:
        log = write(history_ttl=1)
        await log.append(b"a", b"b")
        await asyncio.sleep(1.1)
        assert (await write().append(b"c")).first == 3
        assert list((await log.read()).bodies) == [b"c"]

    async def test_pages_follow_each_other(self, write: Write) -> None:
        log = write()
        await log.append(*(b"%d" % n for n in range(1, 51)))
        got: list[bytes] = []
        while True:
            page = await log.read(after=len(got), limit=7)
            if not page.bodies:
                break
            assert page.start == len(got) + 1
            assert len(page.bodies) <= 7
            got += page.bodies
        assert got == [b"%d" % n for n in range(1, 51)]

    @pytest.mark.parametrize("after", [50, 51, 1000])
    async def test_a_read_after_the_top_is_empty_and_names_the_top(
        self, write: Write, after: int
    ) -> None:
        log = write()
        await log.append(*([b"x"] * 50))
        page = await log.read(after=after)
        assert (list(page.bodies), page.top, page.start) == ([], 50, after + 1)

    async def test_a_page_stops_after_the_publication_that_fills_it(self, write: Write) -> None:
        log = write()
        size = PAGE_BYTES // 3
        await log.append(*([b"x" * size] * 10))
        assert len((await log.read()).bodies) == 4
        await log.append(b"y" * (3 * PAGE_BYTES))
        assert len((await log.read(after=10)).bodies) == 1

    async def test_heads_are_the_beginnings_of_the_same_publications(
        self, write: Write, history: History
    ) -> None:
        log = write(history_size=20)
        bodies = [bytes([n]) * (HEAD_BYTES - 3 + n) for n in range(5)]
        bodies += [bytes([n]) * 700_000 for n in range(5, 20)]
        for body in [b"trimmed", *bodies]:
            await log.append(body)
        heads: list[bytes] = []
        while len(heads) < 18:
            whole = await log.read(after=2 + len(heads), limit=18 - len(heads))
            page = await history.read_heads(log.topic, after=2 + len(heads), limit=18 - len(heads))
            assert (page.epoch, page.first, page.top) == (whole.epoch, 2, 21)
            assert (page.start, page.mark) == (whole.start, whole.mark)
            assert page.bodies
            assert len(page.links) == len(page.bodies)
            heads += map(bytes, page.bodies)
        assert heads == [body[:HEAD_BYTES] for body in bodies[1:19]]

    async def test_a_head_has_room_for_the_longest_that_is_no_data(
        self, write: Write, history: History
    ) -> None:
        log = write()
        array = b"\x93NUMPY\x02\x00" + HEADER_LIMIT.to_bytes(4, "little") + b" " * HEADER_LIMIT
        entry = Entry("x" * 63 + "/" + "y" * 63, "\U0001f40b" * 254, 2**62, array + b"\0" * 70_000)
        await log.append(encode_entry(entry))
        (body,) = (await history.read_heads(log.topic, after=0, limit=1)).bodies
        head = decode_head(body)
        assert (head.user, head.size) == (entry.user, len(entry.data))
        assert head.beginning.startswith(array)

    async def test_reading_an_unknown_topic_leaves_no_trace(
        self, write: Write, history: History
    ) -> None:
        log = write()
        pages = [await log.read(), await history.read_heads(log.topic, after=0, limit=9)]
        for page in pages:
            assert (page.first, page.top, page.start, list(page.bodies)) == (1, 0, 1, [])
            assert page.epoch == NO_EPOCH
        assert (await log.append(b"a")).epoch != NO_EPOCH

    async def test_a_topic_that_is_held_has_an_epoch_before_its_first_publication(
        self, write: Write
    ) -> None:
        log = write()
        page = await log.read(is_held=True)
        assert (page.first, page.top, page.start, list(page.bodies)) == (1, 0, 1, [])
        assert page.epoch != NO_EPOCH
        assert (await log.read()).epoch == page.epoch
        assert (await log.append(b"a")).epoch == page.epoch

    async def test_tops_give_an_unknown_topic_an_epoch_that_stays(
        self, write: Write, history: History
    ) -> None:
        known, unknown = write("-1"), write("-2")
        epoch = (await known.append(b"a", b"b")).epoch
        tops = await history.read_tops([unknown.topic, known.topic])
        assert (tops[1].epoch, tops[1].offset) == (epoch, 2)
        assert tops[0].offset == 0
        assert await history.read_tops([unknown.topic, known.topic]) == tops
        assert (await unknown.append(b"c")).epoch == tops[0].epoch

    async def test_what_is_retained_can_be_measured_without_a_trace(
        self, write: Write, history: History
    ) -> None:
        log, unknown = write("-1", history_size=3), write("-2")
        await log.append(*[b"x" * size for size in range(1, 6)])
        topics = [unknown.topic, log.topic]
        assert await history.measure(topics) == [Size(0, 0), Size(3, 3 + 4 + 5)]
        await log.append(b"y" * 10)
        assert await history.measure(topics) == [Size(0, 0), Size(3, 4 + 5 + 10)]
        assert await history.measure([]) == []
        fleeting = write("-3", history_ttl=0.01)
        await fleeting.append(b"a")
        await asyncio.sleep(1.1 if history.is_remote else 0.02)
        assert await history.measure([fleeting.topic]) == [Size(0, 0)]

    async def test_an_epoch_that_was_lost_ends_once(self, write: Write, history: History) -> None:
        log = write()
        old = (await log.append(b"a", (b"b", "id"))).epoch
        await history.renew_epoch(log.topic, lost="another")
        assert (await log.read()).epoch == old
        await history.renew_epoch(log.topic, lost=old)
        page = await log.read()
        assert (page.epoch != old, page.first, page.top, list(page.bodies)) == (True, 1, 0, [])
        await history.renew_epoch(log.topic, lost=old)
        after = await log.append((b"b", "id"))
        assert (after.epoch, list(after.offsets), after.duplicates) == (page.epoch, [1], set())


class TestMemory:
    """The bounds over all topics together."""

    @staticmethod
    def open(**options: Any) -> MemoryHistory:
        return MemoryHistory(build_settings(options))

    async def test_the_least_recently_used_topic_goes_first(self) -> None:
        history = self.open(MEMORY_HISTORY_TOPICS=2)
        logs = [Writer(history, Topic("broadcast", name)) for name in "abc"]
        epochs = [(await log.append(b"x")).epoch for log in logs[:2]]
        await logs[0].read()
        await logs[2].append(b"x")
        assert (await logs[0].read()).epoch == epochs[0]
        page = await logs[1].read()
        assert (page.epoch != epochs[1], page.top) == (True, 0)

    async def test_bytes_of_all_topics_are_bounded(self) -> None:
        history = self.open(MEMORY_HISTORY_BYTES=100_000)
        logs = [Writer(history, Topic("broadcast", f"t{n}")) for n in range(5)]
        for log in logs:
            await log.append(b"x" * 27_000)
        kept = [log for log in reversed(logs) if (await log.read()).top]
        assert kept == [logs[4], logs[3], logs[2]]

    async def test_a_topic_over_all_bounds_keeps_its_newest(self) -> None:
        history = self.open(MEMORY_HISTORY_BYTES=100)
        log = Writer(history, Topic("broadcast", "a"))
        epoch = (await log.append(b"x" * 500)).epoch
        page = await log.read()
        assert (page.epoch, page.top, len(page.bodies)) == (epoch, 1, 1)

    async def test_a_topic_alone_is_trimmed_to_the_bound_of_all(self) -> None:
        history = self.open(MEMORY_HISTORY_BYTES=100_000)
        log = Writer(history, Topic("broadcast", "a"), history_bytes=1_000_000)
        results = [await log.append(b"x" * 30_000) for _ in range(5)]
        assert [result.first for result in results] == [1, 1, 1, 2, 3]
        assert {result.epoch for result in results} == {results[0].epoch}

    async def test_what_expired_or_was_trimmed_no_longer_counts(self) -> None:
        history = self.open(MEMORY_HISTORY_BYTES=100_000)
        quiet = Writer(history, Topic("broadcast", "quiet"), history_ttl=0.01)
        other = Writer(history, Topic("broadcast", "other"), history_size=1)
        epoch = (await quiet.append(b"x" * 80_000)).epoch
        await asyncio.sleep(0.02)
        await quiet.append(b"y")
        for _ in range(10):
            await other.append(b"z" * 80_000)
        assert (await quiet.read()).epoch == epoch

    async def test_ids_and_small_publications_count_as_what_they_take(self) -> None:
        room = 2 * TOPIC_BYTES + 101 * ENTRY_BYTES + 100 * ID_BYTES
        for bound, is_kept in ((room + 1, True), (room, False)):
            history = self.open(MEMORY_HISTORY_BYTES=bound)
            quiet, busy = (Writer(history, Topic("broadcast", name)) for name in "ab")
            await quiet.append(b"x")
            await busy.append(*((b"", f"id{n}") for n in range(100)))
            assert bool((await quiet.read()).top) is is_kept

    async def test_ids_are_forgotten_after_their_time(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        history = self.open()
        log = Writer(history, Topic("broadcast", "a"))
        await log.append((b"x", "one"))
        monkeypatch.setattr(log_module, "ID_MEMORY", -1)
        assert (await log.append((b"x", "one"))).duplicates == frozenset()


class TestShares:
    """Who makes room when the memory is full: whoever holds most."""

    MIB = 1024 * 1024

    @staticmethod
    def open(history: MemoryHistory, publisher: str, *names: str, **options: Any) -> list[Writer]:
        topics = [Topic("broadcast", name) for name in names]
        options = {"history_bytes": 64 * 1024 * 1024, **options}
        return [Writer(history, topic, publisher=publisher, **options) for topic in topics]

    @staticmethod
    async def count_kept(writers: list[Writer]) -> int:
        return len([log for log in writers if (await log.read()).bodies])

    async def test_one_publisher_alone_may_use_everything(self) -> None:
        history = TestMemory.open(MEMORY_HISTORY_BYTES=11 * self.MIB)
        logs = self.open(history, "user 1", *(f"t{n}" for n in range(20)))
        for log in logs:
            await log.append(b"x" * self.MIB)
        assert [bool((await log.read()).bodies) for log in logs] == [False] * 10 + [True] * 10

    async def test_who_fills_the_memory_loses_nobody_elses_history(self) -> None:
        history = TestMemory.open(MEMORY_HISTORY_BYTES=10 * self.MIB)
        quiet = self.open(history, "user 1", *(f"quiet{n}" for n in range(10)))
        for log in quiet:
            await log.append(b"x" * 10_000)
        flood = self.open(history, "user 2", *(f"flood{n}" for n in range(24)))
        for log in flood:
            await log.append(b"x" * self.MIB)
        assert await self.count_kept(quiet) == 10
        assert await self.count_kept(flood) == 9

    async def test_who_makes_many_topics_loses_nobody_elses(self) -> None:
        history = TestMemory.open(MEMORY_HISTORY_TOPICS=100)
        quiet = self.open(history, "user 1", *(f"quiet{n}" for n in range(10)))
        for log in quiet:
            await log.append(b"x")
        flood = self.open(history, "user 2", *(f"flood{n}" for n in range(150)))
        for log in flood:
            await log.append(b"x")
        assert (await self.count_kept(quiet), await self.count_kept(flood)) == (10, 90)

    async def test_reading_and_measuring_what_is_not_there_evicts_nothing(self) -> None:
        history = TestMemory.open(MEMORY_HISTORY_TOPICS=100)
        kept = self.open(history, "user 1", *(f"t{n}" for n in range(100)))
        for log in kept:
            await log.append(b"x")
        for n in range(300):
            unknown = Topic("broadcast", f"unknown{n}")
            await history.read(unknown, after=0, limit=10, is_held=n % 2 == 0)
            await history.read_heads(unknown, after=0, limit=10)
            await history.measure([unknown])
            await history.read_tops([unknown])
        assert await self.count_kept(kept) == 100

    async def test_two_who_want_everything_get_half_each(self) -> None:
        history = TestMemory.open(MEMORY_HISTORY_BYTES=10 * self.MIB)
        one = self.open(history, "user 1", *(f"a{n}" for n in range(30)))
        two = self.open(history, "user 2", *(f"b{n}" for n in range(30)))
        for log in one:
            await log.append(b"x" * self.MIB)
        for log in two:
            await log.append(b"x" * self.MIB)
        assert sorted([await self.count_kept(one), await self.count_kept(two)]) == [4, 5]

    async def test_a_topic_of_others_in_which_who_holds_most_has_a_part_stays(self) -> None:
        history = TestMemory.open(MEMORY_HISTORY_BYTES=10 * self.MIB)
        (shared,) = self.open(history, "user 1", "shared")
        epoch = (await shared.append(b"x" * 100_000)).epoch
        (intruder,) = self.open(history, "user 2", "shared")
        await intruder.append(b"y")
        for log in self.open(history, "user 2", *(f"flood{n}" for n in range(24))):
            await log.append(b"x" * self.MIB)
        page = await shared.read()
        assert (page.epoch, len(page.bodies)) == (epoch, 2)
        (whole,) = self.open(history, "user 2", "whole")  # trimmed before others' topics go
        for _ in range(24):
            await whole.append(b"x" * self.MIB)
        page = await shared.read()
        assert (page.epoch, len(page.bodies)) == (epoch, 2)

    async def test_many_small_topics_make_room_for_a_large_publication_a_few_at_a_time(
        self,
    ) -> None:
        history = TestMemory.open(MEMORY_HISTORY_BYTES=2 * self.MIB)
        for log in self.open(history, "user 1", *(f"t{n}" for n in range(600))):
            await log.append(b"x")
        (large,) = self.open(history, "user 1", "large")
        publishing = asyncio.create_task(large.append(b"x" * self.MIB))
        turns, most, before = 0, 0, len(history._logs)
        while not publishing.done():
            await asyncio.sleep(0)
            turns += 1
            most, before = max(most, before - len(history._logs)), len(history._logs)
        assert turns > 3
        assert 0 < most <= EVICTION_STEPS
        assert history._bytes.total <= 2 * self.MIB
        assert (await publishing).first == 1

    async def test_what_is_held_is_counted_right_whatever_goes(self) -> None:
        history = TestMemory.open(MEMORY_HISTORY_BYTES=300_000, MEMORY_HISTORY_TOPICS=15)
        chance = random.Random(7)
        writers = [
            writer
            for publisher in ("server", "user 1", "user 2", "address 192.0.2.1")
            for writer in self.open(
                history,
                publisher,
                *(f"t{n}" for n in range(20)),
                history_size=5,
                history_bytes=50_000,
                history_ttl=chance.choice([0.0005, 60.0]),
            )
        ]
        for number in range(3000):
            writer = chance.choice(writers)
            id = f"{writer.publisher} {number}" if chance.random() < 0.5 else ""
            await writer.append((b"x" * chance.randint(0, 20_000), id))
            if chance.random() < 0.2:
                await chance.choice(writers).read()
            held: Counter[str] = Counter()
            for log in history._logs.values():
                assert log.size == sum(log.parts.values())
                held.update(log.parts)
            assert dict(held) == {name: history._bytes[name] for name in held}
            assert history._bytes.total == sum(held.values()) <= 300_000
            assert len(history._logs) <= 15
            pairs = Counter(name for log in history._logs.values() for name in log.parts)
            assert dict(pairs) == {name: len(topics) for name, topics in history._of.items()}
            assert history._topics.total == sum(pairs.values())


async def test_on_a_server_a_user_who_fills_the_history_takes_it_from_nobody_but_himself(
    make_project: Callable[..., Project], launch: Callable[..., Server]
) -> None:
    mib = 1024 * 1024
    project = make_project(
        REALTIME_MEMORY_HISTORY_BYTES=str(8 * mib), REALTIME_MEMORY_HISTORY_TOPICS="30"
    )
    server = launch(project, "serve")
    quiet, greedy = project.issue_token("anna"), project.issue_token("ben")
    array = save_array(np.zeros(mib, np.uint8))
    url = f"{server.ws}/ws/broadcast/quiet/"
    async with open_client(url, quiet) as client:
        begun = await client.receive_type("subscribed")
        await client.send({"type": "publish", "data": 1, "ref": 1})
        await client.receive_type("ack")
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(12):  # of 1 MiB, where 8 MiB are kept
            address = f"{server.ws}/ws/arrays/greedy{number}/"
            clients.append(await stack.enter_async_context(open_client(address, greedy)))
            await clients[-1].send({"type": "binary", "chunks": 1, "ref": 1})
            await clients[-1].send(array)
            await clients[-1].receive_type("ack")
        waiting = [asyncio.create_task(client.receive_type("gap")) for client in clients]
        for gap in itertools.islice(asyncio.as_completed(waiting), 5):
            assert (await gap)["reason"] == "history_lost"
        assert [task.done() for task in waiting].count(False) == 7
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    headers = {"Authorization": f"Bearer {greedy}"}
    async with httpx.AsyncClient(headers=headers, timeout=30) as http:
        for number in range(40):
            path = f"/api/topics/broadcast:unknown{number}/publications/"
            page = (await http.get(server.http + path)).json()
            assert (page["epoch"], page["top"], page["complete"]) == (NO_EPOCH, 0, True)
    for number in range(40):
        async with open_client(f"{server.ws}/ws/broadcast/empty{number}/", greedy) as client:
            await client.receive_type("subscribed")
    async with open_client(f"{url}?epoch={begun['epoch']}&offset=0", quiet) as client:
        assert (await client.receive_type("subscribed"))["recovered"] is True
        assert (await client.receive_type("publication"))["data"] == 1
