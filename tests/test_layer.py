"""The process's one channel on the channel layer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from channels.layers import channel_layers, get_channel_layer
from django.core.exceptions import ImproperlyConfigured

from realtime.conf import Settings, build_settings
from realtime.core.errors import Unavailable
from realtime.layer import JOIN_SLICE, Layer
from tests.servers import RedisServer

MakeLayer = Callable[[str], Layer]


@pytest.fixture
def use_layer(settings: Any) -> Iterator[Callable[[str], Settings]]:
    """Points the channel layer to a Redis; '' is the one in memory."""

    def use(url: str) -> Settings:
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [url]},
            }
            if url
            else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
        }
        return build_settings({"REDIS_URL": url, "HISTORY_TIMEOUT": 0.5})

    yield use
    channel_layers.backends.clear()


@pytest.fixture
async def layers(
    redis: RedisServer, use_layer: Callable[[str], Settings]
) -> AsyncIterator[tuple[Layer, Layer]]:
    """Those of two processes."""
    options = use_layer(redis.url)
    one = Layer(options)
    channel_layers.backends.clear()
    two = Layer(options)
    yield one, two
    await one.close()
    await two.close()


async def test_what_one_sends_both_receive_who_joined(layers: tuple[Layer, Layer]) -> None:
    one, two = layers
    for layer in layers:
        await layer.join("rt.broadcast.a")
    await two.join("rt.broadcast.b")
    await one.send("rt.broadcast.b", {"type": "b", "n": [b"\x00\xff", None]})
    await one.send("rt.broadcast.a", {"type": "a"})
    assert await asyncio.wait_for(one.receive(), 15) == {"type": "a"}
    assert await asyncio.wait_for(two.receive(), 15) == {"type": "b", "n": [b"\x00\xff", None]}
    assert await asyncio.wait_for(two.receive(), 15) == {"type": "a"}


async def test_receiving_and_joining_at_once_share_one_channel(
    layers: tuple[Layer, Layer],
) -> None:
    """As at the start of a process: two channels would leave one group unheard."""
    one, two = layers
    receiving = asyncio.create_task(one.receive())
    await asyncio.gather(*(one.join(f"rt.broadcast.{n}") for n in range(5)))
    for number in range(5):
        await two.send(f"rt.broadcast.{number}", {"n": number})
        assert await asyncio.wait_for(receiving, 15) == {"n": number}
        receiving = asyncio.create_task(one.receive())
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)


async def test_a_group_that_was_left_is_heard_no_longer(layers: tuple[Layer, Layer]) -> None:
    one, two = layers
    await one.join("rt.broadcast.a")
    await one.join("rt.broadcast.b")
    await one.leave("rt.broadcast.a")
    await two.send("rt.broadcast.a", {"n": 1})
    await two.send("rt.broadcast.b", {"n": 2})
    assert await asyncio.wait_for(one.receive(), 15) == {"n": 2}


async def test_a_layer_that_was_opened_again_hears_all_its_groups_and_no_other(
    layers: tuple[Layer, Layer],
) -> None:
    """Whoever waits for a message goes on waiting, on the new channel."""
    one, two = layers
    for number in range(JOIN_SLICE + 1):
        await one.join(f"rt.broadcast.{number}")
    await one.leave("rt.broadcast.7")
    receiving = asyncio.create_task(one.receive())
    await asyncio.sleep(0.05)
    for last in (0, JOIN_SLICE):
        await one.reopen()
        await two.send("rt.broadcast.7", {"n": 7})
        await two.send(f"rt.broadcast.{last}", {"n": last})
        assert await asyncio.wait_for(receiving, 15) == {"n": last}
        receiving = asyncio.create_task(one.receive())
    await one.join("rt.broadcast.new")
    await two.send("rt.broadcast.new", {"n": "new"})
    assert await asyncio.wait_for(receiving, 15) == {"n": "new"}
    assert one.received == 3


async def test_a_receiver_that_is_cancelled_while_the_layer_is_opened_again_ends(
    layers: tuple[Layer, Layer],
) -> None:
    one, _ = layers
    receiving = asyncio.create_task(one.receive())
    await asyncio.sleep(0.05)
    opening = asyncio.create_task(one.reopen())
    while not one._has_moved:
        await asyncio.sleep(0)
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    await opening
    await one.join("rt.broadcast.a")
    await one.send("rt.broadcast.a", {"n": 1})
    assert await asyncio.wait_for(one.receive(), 15) == {"n": 1}


async def test_opening_again_leaves_other_users_of_the_channel_layer_alone(
    layers: tuple[Layer, Layer],
) -> None:
    one, _ = layers
    theirs = get_channel_layer()
    assert theirs is not None
    channel = await theirs.new_channel()
    await theirs.group_add("g", channel)
    await one.reopen()
    await theirs.group_send("g", {"n": 1})
    assert await asyncio.wait_for(theirs.receive(channel), 15) == {"n": 1}
    await theirs.flush()


async def test_opening_again_in_vain_is_unavailable_and_the_receiver_opens_it_later(
    redis: RedisServer, use_layer: Callable[[str], Settings]
) -> None:
    layer = Layer(use_layer(redis.url))
    await layer.join("rt.broadcast.a")
    receiving = asyncio.create_task(layer.receive())
    await asyncio.sleep(0.05)
    redis.kill()
    with pytest.raises(Unavailable):
        await layer.reopen()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(receiving, 15)
    redis.start()
    receiving = asyncio.create_task(layer.receive())
    async with asyncio.timeout(15):
        while not receiving.done():
            await layer.send("rt.broadcast.a", {"n": 1})
            await asyncio.sleep(0.05)
    assert receiving.result() == {"n": 1}
    await layer.close()


async def test_attempts_to_open_it_leave_nothing_behind(
    use_layer: Callable[[str], Settings],
) -> None:
    """The layer itself keeps a queue for each channel that it tried to subscribe to."""
    layer = Layer(use_layer("redis://127.0.0.1:1/0"))
    for _ in range(3):
        with pytest.raises(Unavailable):
            await layer.join("rt.broadcast.a")
    assert layer._layer._get_layer().channels == {}
    await layer.close()


async def test_leaving_before_anything_was_joined_is_nothing(
    use_layer: Callable[[str], Settings],
) -> None:
    await Layer(use_layer("")).leave("rt.broadcast.a")


async def test_without_redis_each_call_is_unavailable_within_its_deadline(
    use_layer: Callable[[str], Settings],
) -> None:
    layer = Layer(use_layer("redis://127.0.0.1:1/0"))
    for call in (layer.join("rt.a"), layer.send("rt.a", {})):
        with pytest.raises(Unavailable, match="other processes cannot be reached"):
            await asyncio.wait_for(call, 5)
    await layer.close()


async def test_whether_others_can_be_reached_is_known(
    use_layer: Callable[[str], Settings],
) -> None:
    assert Layer(use_layer("redis://127.0.0.1:1/0")).is_shared
    channel_layers.backends.clear()
    assert not Layer(use_layer("")).is_shared


def test_a_layer_that_is_not_configured_is_named(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {}
    with pytest.raises(ImproperlyConfigured, match="'other'"):
        Layer(build_settings({"CHANNEL_LAYER": "other"}))


def test_the_project_s_layer_in_memory_drops_nothing_in_a_busy_moment() -> None:
    layer = get_channel_layer()
    assert layer is not None
    assert layer.capacity >= 100_000
