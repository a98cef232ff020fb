"""The pulse of a process through Redis: what it finds, and that a silent layer is opened again."""

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from channels.layers import channel_layers

from realtime import pulse as pulse_module
from realtime.conf import build_settings
from realtime.core.errors import Unavailable
from realtime.core.topics import UnknownTopic, parse_topic
from realtime.history import Batch, open_history
from realtime.layer import Layer
from realtime.pulse import FRESH, NAMESPACE, PULSE, Health, Pulse
from tests.breaking_proxy import breaking_proxy
from tests.servers import RedisServer

PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
# A silent connection is promised to be replaced within 5 s; a test may wait twice as long.
SILENCE_DEADLINE = 10.0


class Heart:
    """A pulse with its layer and history, and a hub that hands it what it is sent."""

    def __init__(self, url: str, *, instance: str = "one", **options: Any) -> None:
        settings = build_settings({"REDIS_URL": url, "PREFIX": "rt", **options})
        self.layer = Layer(settings)
        self.history = open_history(settings)
        self.reopened = 0
        self.beats = 0
        self.messages: list[dict[str, Any]] = []
        self.pulse = Pulse(
            settings=settings,
            history=self.history,
            layer=self.layer,
            instance=instance,
            on_reopened=self._note_reopened,
        )
        append = self.history.append

        async def count(batches: list[Batch]) -> Any:
            self.beats += 1
            return await append(batches)

        self.history.append = count  # type: ignore[method-assign, assignment]

    async def hear_forever(self) -> None:
        while True:
            try:
                message = await self.layer.receive()
            except Unavailable:
                await asyncio.sleep(0.05)
                continue
            if message["type"] == PULSE:
                self.pulse.hear(message)
            else:
                self.messages.append(message)

    def _note_reopened(self) -> None:
        self.reopened += 1


@pytest.fixture
def open_heart(settings: Any) -> Callable[..., Any]:
    @asynccontextmanager
    async def open_heart(url: str, **options: Any) -> AsyncIterator[Heart]:
        config = {"hosts": [url], "prefix": "rt.0"}
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": PUBSUB, "CONFIG": config}}
        channel_layers.backends.clear()
        heart = Heart(url, **options)
        hearing = asyncio.create_task(heart.hear_forever())
        try:
            yield heart
        finally:
            await heart.pulse.close()
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            await heart.history.close()
            await heart.layer.close()
            channel_layers.backends.clear()

    return open_heart


async def wait_for(heart: Heart, reason: str, seconds: float = 30) -> Health:
    """Look until that is the reason."""
    async with asyncio.timeout(seconds):
        while (health := await heart.pulse.look()).reason != reason:
            await asyncio.sleep(FRESH)
    return health


async def test_it_writes_nothing_but_a_topic_that_no_client_can_name(
    redis: RedisServer, open_heart: Any
) -> None:
    async with open_heart(redis.url) as heart:
        assert await heart.pulse.look() == Health()
    with redis_client.Redis(port=redis.port, decode_responses=True) as client:
        topic = f"{NAMESPACE}:one"
        assert {key.split(":{")[0] for key in client.keys("*")} == {"rt.0", "rt.0:deployment"}
        assert set(client.keys("*")) == {
            *(f"rt.0:{{{topic}}}:{part}" for part in ("meta", "log")),
            "rt.0:deployment",
        }
        assert all(client.ttl(key) > 0 for key in client.keys("*"))
    with pytest.raises(UnknownTopic):
        parse_topic(topic)


@pytest.mark.parametrize(
    ("harm", "mend", "reason", "words"),
    [
        (
            ["CONFIG SET maxmemory 1"],
            ["CONFIG SET maxmemory 0"],
            "the store is out of memory",
            "OOM command not allowed when used memory > 'maxmemory'",
        ),
        (
            ["REPLICAOF 127.0.0.1 1"],
            ["REPLICAOF NO ONE"],
            "the store is read-only now",
            "READONLY",
        ),
        (
            ["CONFIG SET min-replicas-to-write 1"],
            ["CONFIG SET min-replicas-to-write 0"],
            "the store has too few replicas to take a write",
            "NOREPLICAS",
        ),
        (
            ["ACL SETUSER default -xadd"],
            ["ACL SETUSER default +@all"],
            "the store does not permit it to the server",
            "NOPERM",
        ),
        (
            ["ACL SETUSER default resetchannels"],
            ["ACL SETUSER default allchannels"],
            "the store does not let the server announce",
            "channel",
        ),
    ],
)
async def test_what_redis_refuses_is_found_with_its_words_and_so_is_that_it_is_mended(
    redis: RedisServer,
    open_heart: Any,
    harm: list[str],
    mend: list[str],
    reason: str,
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_heart(redis.url) as heart:
        with redis_client.Redis(port=redis.port) as client:
            assert await heart.pulse.look() == Health()
            for command in harm:
                client.execute_command(*command.split())
            health = await wait_for(heart, reason)
            assert words in health.words
            assert not health.is_misfit
            assert any(reason in line and words in line for line in caplog.messages)
            for command in mend:
                client.execute_command(*command.split())
            await wait_for(heart, "")
    assert caplog.messages[-1] == "publications are accepted and heard again"


async def test_a_disk_that_refuses_is_found(redis: RedisServer, open_heart: Any) -> None:
    async with open_heart(redis.url) as heart:
        (redis.folder / "dump.rdb" / "in the way").mkdir(parents=True)
        with redis_client.Redis(port=redis.port) as client:
            client.config_set("save", "3600 1")
            with pytest.raises(redis_client.ResponseError):
                client.save()
            client.bgsave()
            health = await wait_for(heart, "the store cannot write to its disk")
            assert "MISCONF" in health.words


async def test_all_who_ask_at_once_share_a_beat_and_one_that_is_fresh_serves_the_next(
    redis: RedisServer, open_heart: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_heart(redis.url) as heart:
        assert await asyncio.gather(*(heart.pulse.look() for _ in range(100))) == [Health()] * 100
        assert heart.beats == 1
        monkeypatch.setattr(pulse_module, "FRESH", 3600.0)
        await heart.pulse.look()
        assert heart.beats == 1
        monkeypatch.setattr(pulse_module, "FRESH", 0.0)
        await heart.pulse.look()
        assert heart.beats == 2


async def test_who_gives_up_waiting_takes_the_beat_from_nobody(
    redis: RedisServer, open_heart: Any
) -> None:
    async with open_heart(redis.url) as heart:
        asked = [asyncio.create_task(heart.pulse.look()) for _ in range(2)]
        await asyncio.sleep(0)
        asked[0].cancel()
        assert await asked[1] == Health()


async def test_a_silent_connection_of_the_layer_is_replaced_and_everything_heard_again(
    redis: RedisServer, open_heart: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing passes through what was connected, and nobody says so; new connections are good."""
    async with (
        breaking_proxy(redis.port) as proxy,
        open_heart(f"redis://127.0.0.1:{proxy.port}/0", HISTORY_TIMEOUT=1.0) as heart,
    ):
        for number in range(300):
            await heart.layer.join(f"rt.broadcast.{number}")
        await heart.pulse.look()
        beating = asyncio.create_task(heart.pulse.beat_forever())
        proxy.freeze()
        async with asyncio.timeout(SILENCE_DEADLINE):
            while not heart.reopened:
                await asyncio.sleep(0.02)
        assert any("silent for 1.2 s" in line for line in caplog.messages)
        await wait_for(heart, "")
        for number in (0, 299):
            await heart.layer.send(f"rt.broadcast.{number}", {"type": "n", "n": number})
        async with asyncio.timeout(30):
            while len(heart.messages) < 2:
                await asyncio.sleep(0.02)
        assert [message["n"] for message in heart.messages] == [0, 299]
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        assert heart.reopened == 1


async def test_a_redis_that_hangs_is_said_in_time_and_the_layer_is_left_alone(
    redis: RedisServer, open_heart: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_heart(redis.url, HISTORY_TIMEOUT=0.5) as heart:
        await heart.pulse.look()
        redis.signal(signal.SIGSTOP)
        try:
            await wait_for(heart, "the store does not answer in time")
            await wait_for(heart, "the store does not answer in time")
        finally:
            redis.signal(signal.SIGCONT)
        await wait_for(heart, "")
    assert not heart.reopened
    assert not any("silent" in line for line in caplog.messages)


async def test_a_layer_that_brings_other_messages_is_busy_and_not_silent(
    redis: RedisServer, open_heart: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_heart(redis.url) as heart:
        monkeypatch.setattr(heart.pulse, "hear", lambda message: None)
        assert await heart.pulse.look() == Health()
        assert not heart.reopened


async def test_a_layer_that_stays_silent_is_opened_again_ever_less_often(
    redis: RedisServer, open_heart: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a proxy that lets no subscription through."""
    for name, value in {"STEP": 0.001, "FRESH": 0.0, "FIRST_DELAY": 0.2, "INTERVAL": 0.0}.items():
        monkeypatch.setattr(pulse_module, name, value)
    monkeypatch.setattr(pulse_module, "RETRY_INTERVAL", 0.0)
    async with open_heart(redis.url) as heart:

        async def receive() -> Any:
            await asyncio.Event().wait()

        monkeypatch.setattr(heart.layer._layer, "receive", lambda channel: receive())
        heart.pulse._delay = 0.2
        beating = asyncio.create_task(heart.pulse.beat_forever())
        await asyncio.sleep(2.0)
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        assert heart.beats > 10
        assert 2 <= heart.reopened <= 5  # after 0, 0.2, 0.6, 1.4 s


async def test_a_subscription_that_redis_refuses_is_named_by_its_words(
    redis: RedisServer, open_heart: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script may publish there, but nobody of us may listen."""
    monkeypatch.setattr(pulse_module, "STEP", 0.05)
    with redis_client.Redis(port=redis.port) as client:
        client.execute_command("ACL", "SETUSER", "deaf", "on", ">pw", "~*", "&*", "+@all")
        client.execute_command("ACL", "SETUSER", "deaf", "-subscribe")
        async with open_heart(f"redis://deaf:pw@127.0.0.1:{redis.port}/0") as heart:
            health = await wait_for(heart, "the store does not permit it to the server")
            assert "'subscribe'" in health.words


async def test_a_redis_that_is_away_is_no_puzzle(open_heart: Any) -> None:
    async with open_heart("redis://127.0.0.1:1/0") as heart:
        health = await heart.pulse.look()
        assert health.reason == "the store cannot be reached"
        assert "127.0.0.1:1" in health.words


async def test_a_cluster_can_never_work(tmp_path: Path, open_heart: Any) -> None:
    redis = RedisServer.make_cluster(tmp_path)
    try:
        async with open_heart(redis.url) as heart:
            health = await heart.pulse.look()
            assert health.is_misfit
            assert "Redis Cluster" in health.reason
    finally:
        redis.kill()


async def test_another_deployment_with_the_same_names_is_told_in_the_log(
    redis: RedisServer, open_heart: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with open_heart(redis.url) as one, open_heart(redis.url, instance="two") as two:
        await one.pulse.look()
        await two.pulse.look()
        assert not caplog.messages  # two instances of one deployment
        settings.SECRET_KEY = "another one"
        async with open_heart(redis.url, instance="three") as three:
            await three.pulse.look()
    (line,) = caplog.messages
    assert "another deployment uses the same names" in line
    assert "REALTIME_PREFIX" in line


async def test_in_memory_there_is_no_pulse(settings: Any) -> None:
    heart = Heart("")
    await asyncio.wait_for(heart.pulse.beat_forever(), 5)
    assert await heart.pulse.look() == Health()
    assert not heart.beats
    assert Counter(heart.messages) == Counter()
