"""The history in Redis: what its scripts announce, and what happens when Redis does not answer."""

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis as redis_client
from channels.layers import get_channel_layer

from realtime.conf import Settings, build_settings
from realtime.core.errors import Refused, Unavailable
from realtime.core.positions import MARK_BYTES, Position, link_batch
from realtime.core.topics import Topic
from realtime.history import Accepted, Top
from realtime.history.redis import HEAD_BYTES, LONGEST_CARRIED, RedisHistory, find_group_prefix
from tests.breaking_proxy import breaking_proxy
from tests.history.conftest import Writer
from tests.servers import RedisServer

UseRedis = Callable[..., Settings]


@pytest.fixture
async def history(shared_redis: RedisServer, use_redis: UseRedis) -> AsyncIterator[RedisHistory]:
    history = RedisHistory(use_redis(shared_redis))
    yield history
    await history.close()


@pytest.fixture
def client(shared_redis: RedisServer) -> Any:
    with redis_client.Redis(port=shared_redis.port) as client:
        yield client


class TestAnnouncement:
    """An append is heard as the installed channels-redis writes and reads messages."""

    @pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 256, 1000])
    async def test_a_batch_arrives_as_one_message_of_the_layer(
        self, history: RedisHistory, topic: Topic, count: int
    ) -> None:
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add(topic.group, channel)
        log = Writer(history, topic, history_size=5)
        bodies = [os.urandom(n % 40) for n in range(count)]
        accepted = await log.append(*bodies)
        message = await asyncio.wait_for(layer.receive(channel), 15)
        assert message == {
            "type": "publications",
            "topic": str(topic),
            "epoch": accepted.epoch,
            "offset": 1,
            "first": max(1, count - 4),
            "link": accepted.link,
            "entries": bodies,
        }
        assert all(type(entry) is bytes for entry in message["entries"])
        await layer.flush()

    async def test_a_long_body_is_announced_without_its_bytes(
        self, history: RedisHistory, topic: Topic
    ) -> None:
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add(topic.group, channel)
        log = Writer(history, topic)
        bodies = [b"x" * LONGEST_CARRIED, b"y" * (LONGEST_CARRIED + 1), b"z"]
        await log.append(*bodies)
        message = await asyncio.wait_for(layer.receive(channel), 15)
        assert message["entries"] == [bodies[0], None, b"z"]
        assert list((await log.read()).bodies) == bodies
        await layer.flush()

    async def test_repeats_are_not_announced_and_offsets_fit_the_new_ones(
        self, history: RedisHistory, topic: Topic
    ) -> None:
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add(topic.group, channel)
        log = Writer(history, topic)
        await log.append((b"a", "x"))
        await log.append((b"a", "x"))
        await log.append((b"a", "x"), b"b", (b"c", "y"))
        messages = [await asyncio.wait_for(layer.receive(channel), 15) for _ in range(2)]
        assert [(m["offset"], m["entries"]) for m in messages] == [(1, [b"a"]), (2, [b"b", b"c"])]
        await layer.flush()

    def test_other_layers_are_not_written_for(self, settings: Any) -> None:
        url = "redis://127.0.0.1:1/0"
        options = build_settings({"REDIS_URL": url})
        pubsub = "channels_redis.pubsub.RedisPubSubChannelLayer"
        for backend, config, prefix in [
            (pubsub, {"hosts": [url]}, "asgi__group__"),
            (pubsub, {"hosts": [{"address": url}], "prefix": "mine"}, "mine__group__"),
            (pubsub, {"hosts": ["redis://127.0.0.1:2/0"]}, None),
            (pubsub, {"hosts": [url, "redis://127.0.0.1:2/0"]}, None),
            (pubsub, {"hosts": [url], "serializer_format": "json"}, None),
            (pubsub, {"hosts": [url], "symmetric_encryption_keys": ["secret"]}, None),
            ("channels.layers.InMemoryChannelLayer", {}, None),
        ]:
            settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
            assert find_group_prefix(options) == prefix, config


class TestStore:
    """What is in Redis."""

    async def test_offsets_are_not_rounded(
        self, history: RedisHistory, topic: Topic, client: Any
    ) -> None:
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add(topic.group, channel)
        log = Writer(history, topic, history_size=2)
        await log.append(b"a")
        top = 10**13 + 1
        client.hset(f"rt.0:{{{topic}}}:meta", mapping={"top": top, "first": top + 1})
        client.delete(f"rt.0:{{{topic}}}:log")
        result = await log.append(b"b", (b"c", "id"), (b"c", "id"), b"d")
        assert list(result.offsets) == [top + 1, top + 2, top + 2, top + 3]
        assert (result.duplicates, result.first) == ({2}, top + 2)
        page = await log.read(after=top + 2)
        assert (page.top, page.start, list(page.bodies)) == (top + 3, top + 3, [b"d"])
        assert await history.read_tops([topic]) == [Top(result.epoch, top + 3, page.mark)]
        await asyncio.wait_for(layer.receive(channel), 15)
        message = await asyncio.wait_for(layer.receive(channel), 15)
        assert (message["offset"], message["first"]) == (top + 1, top + 2)
        await layer.flush()

    async def test_every_key_of_a_topic_expires_and_shares_its_slot(
        self, history: RedisHistory, topic: Topic, client: Any
    ) -> None:
        other = Topic("broadcast", topic.name + "-read")
        await Writer(history, topic, history_ttl=50).append((b"a", "x"))
        await Writer(history, other).read(is_held=True)
        await Writer(history, Topic("broadcast", topic.name + "-glance")).read()
        await history.read_tops([Topic("broadcast", topic.name + "-tops")])
        await history.measure([Topic("broadcast", topic.name + "-sizes")])
        keys = client.keys(f"rt.0:{{{topic}*")
        assert len(keys) == 5
        for key in keys:
            assert client.ttl(key) > 0, key
        assert client.ttl(f"rt.0:{{{topic}}}:meta") > client.ttl(f"rt.0:{{{topic}}}:log")

    async def test_heads_leave_the_data_in_redis(
        self, history: RedisHistory, topic: Topic, client: Any
    ) -> None:
        log = Writer(history, topic, history_bytes=2**26)
        for _ in range(40):
            await log.append(b"x" * 500_000)
        await history.read_heads(topic, after=40, limit=1)  # the script is known now
        before = client.info("stats")["total_net_output_bytes"]
        after = 0
        while after < 40:
            after = (await history.read_heads(topic, after=after, limit=40 - after)).end
        moved = client.info("stats")["total_net_output_bytes"] - before
        assert moved < 40 * 2 * HEAD_BYTES

    async def test_a_flushed_script_is_loaded_again(
        self, history: RedisHistory, topic: Topic, client: Any
    ) -> None:
        log = Writer(history, topic)
        await log.append(b"a")
        client.script_flush()
        results = await history.append([log.batch(b"b"), log.batch(b"c")])
        assert [list(result.offsets) for result in results] == [[2], [3]]  # type: ignore[union-attr]
        client.script_flush()
        assert (await log.read()).top == 3
        client.script_flush()
        assert (await history.read_tops([topic]))[0].offset == 3

    async def test_another_process_sees_the_same(
        self, history: RedisHistory, topic: Topic, use_redis: UseRedis, shared_redis: RedisServer
    ) -> None:
        other = RedisHistory(use_redis(shared_redis))
        here, there = Writer(history, topic), Writer(other, topic)
        await here.append((b"a", "x"))
        result = await there.append((b"a", "x"), b"b")
        assert (list(result.offsets), result.duplicates) == ([1, 2], {0})
        assert asdict(await here.read()) == asdict(await there.read())
        await other.close()

    async def test_an_error_of_one_batch_leaves_the_others(
        self, history: RedisHistory, topic: Topic, client: Any
    ) -> None:
        good, bad = Writer(history, topic), Writer(history, Topic("broadcast", topic.name + "-b"))
        client.set(f"rt.0:{{{bad.topic}}}:meta", "no hash")
        results = await history.append([bad.batch(b"a"), good.batch(b"b")])
        assert isinstance(results[0], Unavailable)
        assert list(results[1].offsets) == [1]  # type: ignore[union-attr]
        assert list((await good.append(b"c")).offsets) == [2]


class TestRefusal:
    """Redis answers that it does not do it."""

    @pytest.mark.parametrize(
        ("harm", "mend", "reason"),
        [
            # It serves readers all the same.
            ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "out of memory"),
            (
                "CONFIG SET min-replicas-to-write 1",
                "CONFIG SET min-replicas-to-write 0",
                "too few replicas",
            ),
            ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "read-only"),
        ],
    )
    async def test_a_refused_batch_is_known_not_to_be_there_and_can_be_published_later(
        self,
        redis: RedisServer,
        use_redis: UseRedis,
        topic: Topic,
        harm: str,
        mend: str,
        reason: str,
    ) -> None:
        history = RedisHistory(use_redis(redis))
        log = Writer(history, topic)
        await log.append((b"a", "x"))
        with redis_client.Redis(port=redis.port) as client:
            before = {key: client.dump(key) for key in client.keys("*")}
            client.execute_command(*harm.split())
            (result,) = await history.append([log.batch((b"b", "y"), b"c")])
            assert isinstance(result, Refused)
            assert re.fullmatch(
                f"it was not published: .*{reason}.*; repeat it later with the same id",
                result.detail,
            )
            assert {key: client.dump(key) for key in client.keys("*")} == before
            if reason != "out of memory":
                with pytest.raises(Unavailable, match=reason):
                    await log.read()
            client.execute_command(*mend.split())
        again = await log.append((b"b", "y"))
        assert (list(again.offsets), again.duplicates) == ([2], frozenset())
        await history.close()

    async def test_what_was_never_sent_was_not_published(
        self, redis: RedisServer, use_redis: UseRedis, topic: Topic
    ) -> None:
        history = RedisHistory(use_redis(redis, HISTORY_TIMEOUT=0.5))
        log = Writer(history, topic)
        redis.signal(signal.SIGSTOP)  # it takes connections, and says nothing
        (late,) = await history.append([log.batch(b"a")])
        redis.signal(signal.SIGCONT)
        redis.kill()
        (away,) = await history.append([log.batch(b"a")])
        for result in (late, away):
            assert isinstance(result, Refused)
            assert "cannot be reached" in result.detail
        await history.close()

    async def test_what_was_sent_and_not_answered_may_have_been_published(
        self, redis: RedisServer, use_redis: UseRedis, topic: Topic
    ) -> None:
        history = RedisHistory(use_redis(redis, HISTORY_TIMEOUT=0.5))
        log = Writer(history, topic)
        await log.append(b"a")
        redis.signal(signal.SIGSTOP)
        (result,) = await history.append([log.batch(b"b")])
        redis.signal(signal.SIGCONT)
        assert isinstance(result, Unavailable)
        assert not isinstance(result, Refused)
        assert "may or may not have been published" in result.detail
        assert list((await log.read()).bodies) == [b"a", b"b"]
        await history.close()

    async def test_a_right_that_is_missing_in_the_middle_leaves_it_open(
        self, redis: RedisServer, use_redis: UseRedis, topic: Topic
    ) -> None:
        history = RedisHistory(use_redis(redis))
        log = Writer(history, topic)
        with redis_client.Redis(port=redis.port) as client:
            client.execute_command("ACL", "SETUSER", "default", "-xtrim")
        (result,) = await history.append([log.batch(b"a")])
        assert isinstance(result, Unavailable)
        assert not isinstance(result, Refused)
        assert "does not permit it" in result.detail
        await history.close()

    async def test_what_cannot_be_announced_is_accepted_all_the_same(
        self, redis: RedisServer, use_redis: UseRedis, topic: Topic
    ) -> None:
        history = RedisHistory(use_redis(redis))
        log = Writer(history, topic)
        assert (await log.append(b"a")).unannounced == ""
        with redis_client.Redis(port=redis.port) as client:
            client.execute_command("ACL", "SETUSER", "default", "resetchannels")
        accepted = await log.append(b"b")
        assert list(accepted.offsets) == [2]
        assert "channel" in accepted.unannounced
        assert list((await log.read()).bodies) == [b"a", b"b"]
        await history.close()


class TestRewind:
    """Redis comes back as it was some time ago, and is written on."""

    @staticmethod
    def snapshot(client: Any, topic: Topic) -> dict[str, bytes]:
        return {key: client.dump(key) for key in client.keys(f"rt.0:{{{topic}}}:*")}

    @staticmethod
    def restore(client: Any, topic: Topic, snapshot: dict[str, bytes]) -> None:
        client.delete(*client.keys(f"rt.0:{{{topic}}}:*"))
        for key, value in snapshot.items():
            client.restore(key, 60_000, value)

    async def test_each_publication_is_linked_to_the_one_before(
        self, history: RedisHistory, topic: Topic
    ) -> None:
        log = Writer(history, topic)
        results = [await log.append(b"a", b"b"), await log.append((b"c", "x"))]
        repeat = await log.append((b"c", "x"), b"d")
        links = (await log.read()).links
        assert links[0][:MARK_BYTES] == bytes(MARK_BYTES)
        assert [link[:MARK_BYTES] for link in links[1:]] == [
            link[MARK_BYTES:] for link in links[:-1]
        ]
        assert links == [*link_batch(results[0].link, 2), results[1].link, repeat.link]
        page = await log.read(after=2, limit=1)
        assert (page.links, page.mark) == ([results[1].link], repeat.link[MARK_BYTES:])
        assert await history.read_tops([topic]) == [Top(page.epoch, 4, page.mark)]

    async def test_a_publisher_who_knows_more_begins_a_new_epoch(
        self, history: RedisHistory, topic: Topic, client: Any
    ) -> None:
        log = Writer(history, topic)
        await log.append(b"a", b"b")
        old = self.snapshot(client, topic)
        before = await log.append(b"c", (b"d", "id"))
        self.restore(client, topic, old)
        known = Position(before.epoch, 4)
        batch = log.batch((b"d", "id"), b"e")
        (result,) = await history.append([replace(batch, known=known)])
        assert isinstance(result, Accepted)
        assert (result.epoch != before.epoch, list(result.offsets)) == (True, [1, 2])
        page = await log.read()
        assert (page.epoch, page.first, list(page.bodies)) == (result.epoch, 1, [b"d", b"e"])
        for key in client.keys(f"rt.0:{{{topic}}}:*"):
            assert client.ttl(key) > 0, key
        (again,) = await history.append([replace(log.batch(b"f"), known=known)])
        assert isinstance(again, Accepted)
        assert (again.epoch, list(again.offsets)) == (result.epoch, [3])

    async def test_a_publisher_who_knows_no_more_than_is_there_changes_nothing(
        self, history: RedisHistory, topic: Topic
    ) -> None:
        log = Writer(history, topic)
        before = await log.append(b"a", b"b")
        for offset in (0, 1, 2):
            known = Position(before.epoch, offset)
            (result,) = await history.append([replace(log.batch(b"c"), known=known)])
            assert isinstance(result, Accepted)
            assert result.epoch == before.epoch

    async def test_those_who_did_not_notice_write_on_with_other_marks(
        self, history: RedisHistory, topic: Topic, client: Any
    ) -> None:
        log = Writer(history, topic)
        await log.append(b"a")
        old = self.snapshot(client, topic)
        lost = await log.append(b"b")
        self.restore(client, topic, old)
        again = await log.append(b"c")
        assert list(again.offsets) == list(lost.offsets)
        assert again.link[:MARK_BYTES] == lost.link[:MARK_BYTES]
        assert again.link[MARK_BYTES:] != lost.link[MARK_BYTES:]

    async def test_a_log_without_its_meta_is_not_taken_for_the_new_one(
        self, history: RedisHistory, topic: Topic, client: Any
    ) -> None:
        log = Writer(history, topic)
        await log.append(b"a", b"b", b"c")
        client.delete(f"rt.0:{{{topic}}}:meta")
        assert list((await log.read()).bodies) == []
        result = await log.append(b"d")
        page = await log.read()
        assert (list(result.offsets), page.first, list(page.bodies)) == ([1], 1, [b"d"])


@pytest.fixture
def spare_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Another Redis, empty."""
    folder = tmp_path / "spare"
    folder.mkdir()
    redis = RedisServer(folder)
    redis.start()
    yield redis
    redis.kill()


class TestOutage:
    """Redis stops, dies and comes back."""

    async def test_a_stopped_redis_is_unavailable_within_the_deadline_and_comes_back(
        self, redis: RedisServer, use_redis: UseRedis, topic: Topic
    ) -> None:
        history = RedisHistory(use_redis(redis, HISTORY_TIMEOUT=1.0))
        log = Writer(history, topic)
        await log.append(b"a")
        redis.signal(signal.SIGSTOP)
        began = time.monotonic()
        batches = [log.batch((b"b", "x")), log.batch(b"c")]
        calls = history.append(batches), log.read(), history.read_tops([topic])
        results, *failures = await asyncio.gather(*calls, return_exceptions=True)
        for failure in (*results, *failures):
            assert isinstance(failure, Unavailable)
        assert time.monotonic() - began < 10
        redis.signal(signal.SIGCONT)
        # The reply of the lost call, which Redis may have run, belongs to nobody.
        again = await log.append((b"b", "x"), b"d")
        bodies = list((await log.read()).bodies)
        assert bodies.count(b"b") == 1
        assert bodies[again.offsets[0] - 1] == b"b"
        assert bodies[again.offsets[1] - 1] == b"d"
        await history.close()

    async def test_a_cancelled_append_leaves_no_reply_for_the_next(
        self, redis: RedisServer, use_redis: UseRedis, topic: Topic
    ) -> None:
        history = RedisHistory(use_redis(redis))
        log = Writer(history, topic)
        await log.append(b"a")
        redis.signal(signal.SIGSTOP)
        call = asyncio.create_task(log.append(b"b", b"b", b"b"))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        redis.signal(signal.SIGCONT)
        result = await log.append(b"c")
        assert list((await log.read()).bodies)[result.offsets[0] - 1] == b"c"
        await history.close()

    async def test_a_killed_redis_is_unavailable_and_its_successor_begins_a_new_epoch(
        self, redis: RedisServer, use_redis: UseRedis, topic: Topic
    ) -> None:
        history = RedisHistory(use_redis(redis))
        log = Writer(history, topic)
        before = await log.append(b"a")
        redis.kill()
        began = time.monotonic()
        (result,) = await history.append([log.batch(b"b")])
        assert isinstance(result, Unavailable)
        for call in (log.read(), history.read_tops([topic])):
            with pytest.raises(Unavailable):
                await call
        assert time.monotonic() - began < 10
        redis.start()
        after = await log.append(b"c")
        assert (list(after.offsets), after.epoch != before.epoch) == ([1], True)
        await history.close()

    async def test_a_redis_that_was_restarted_while_nobody_published_refuses_nothing(
        self, redis: RedisServer, use_redis: UseRedis, topic: Topic, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The old connection has ended, which shows before anything is sent on it."""
        monkeypatch.setattr("realtime.history.redis.IDLE_SECONDS", 0.0)
        history = RedisHistory(use_redis(redis, HISTORY_TIMEOUT=30.0))
        log = Writer(history, topic)
        await log.append(b"a")
        assert list((await log.append(b"b")).offsets) == [2]  # one that lives is used again
        redis.kill()
        redis.start()
        await asyncio.sleep(0.5)  # the end of the connection is heard of
        began = time.monotonic()
        assert list((await log.append(b"c")).offsets) == [1]
        assert time.monotonic() - began < 15  # it waited for no answer of the old one
        await history.close()

    async def test_a_primary_that_became_a_replica_is_let_go_of_for_whom_the_address_names_now(
        self, redis: RedisServer, spare_redis: RedisServer, use_redis: UseRedis, topic: Topic
    ) -> None:
        """The connections lead to the old primary still, which takes nothing any more."""
        async with breaking_proxy(redis.port) as proxy:
            address = SimpleNamespace(url=f"redis://127.0.0.1:{proxy.port}/0")
            history = RedisHistory(use_redis(address))
            log = Writer(history, topic)
            before = await log.append(b"a")
            assert (await log.read()).top == 1
            with (
                redis_client.Redis(port=redis.port) as old,
                redis_client.Redis(port=spare_redis.port) as new,
            ):
                old.config_set("repl-diskless-sync-delay", 0)
                new.replicaof("127.0.0.1", redis.port)
                async with asyncio.timeout(15):
                    while not new.exists(f"rt.0:{{{topic}}}:log"):
                        await asyncio.sleep(0.02)
                new.replicaof("NO", "ONE")
                old.replicaof("127.0.0.1", 1)  # it hears of nothing more, nor does it take any
            proxy.target = spare_redis.port
            (result,) = await history.append([log.batch(b"b")])
            assert isinstance(result, Unavailable)
            after = await log.append(b"c")
            assert (after.epoch, list(after.offsets)) == (before.epoch, [2])
            assert list((await log.read()).bodies) == [b"a", b"c"]
            await history.close()
