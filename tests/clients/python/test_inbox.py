"""A bounded queue that loses nothing when somebody gives up waiting."""

import asyncio

import pytest

from realtime_client import Join
from realtime_client.inbox import EXCESS, Inbox, Item


def item(number: int, size: int = 1) -> Item:
    return Item(Join("t", str(number), "s"), size, None)


def number(got: Item) -> int:
    assert isinstance(got.message, Join)
    return int(got.message.user or "")


async def test_it_is_full_from_its_bound_until_half_is_read() -> None:
    opened: list[None] = []
    inbox = Inbox(max_count=4, max_bytes=100, on_drained=lambda: opened.append(None))
    for n in range(4):
        assert not inbox.is_full
        inbox.put(item(n))
    assert inbox.is_full
    await inbox.get()
    assert (inbox.is_full, opened) == (True, [])
    await inbox.get()
    assert (inbox.is_full, opened) == (False, [None])


async def test_it_is_full_by_bytes_too() -> None:
    inbox = Inbox(max_count=100, max_bytes=10)
    inbox.put(item(1, size=10))
    assert inbox.is_full
    assert not inbox.is_overfull
    inbox.put(item(2, size=10 * EXCESS))
    assert inbox.is_overfull
    inbox.clear()
    assert not inbox.is_full


async def test_messages_go_to_whoever_waits_in_order() -> None:
    inbox = Inbox(max_count=4, max_bytes=100)
    waiting = [asyncio.create_task(inbox.get()) for _ in range(3)]
    await asyncio.sleep(0)
    for n in range(3):
        inbox.put(item(n))
    assert [number(got) for got in await asyncio.gather(*waiting)] == [0, 1, 2]


@pytest.mark.parametrize("steps", range(3))
async def test_giving_up_at_the_moment_of_arrival_leaves_the_message_to_the_next(
    steps: int,
) -> None:
    inbox = Inbox(max_count=4, max_bytes=100)
    first, second = (asyncio.create_task(inbox.get()) for _ in range(2))
    await asyncio.sleep(0)
    inbox.put(item(1))
    for _ in range(steps):
        await asyncio.sleep(0)
    first.cancel()
    [got] = await asyncio.gather(first, return_exceptions=True)
    if isinstance(got, Item):  # it was quicker
        inbox.put(item(1))
    assert number(await second) == 1


async def test_what_is_there_comes_before_the_end_and_the_end_comes_to_all() -> None:
    inbox = Inbox(max_count=4, max_bytes=100)
    inbox.put(item(1))
    inbox.end(KeyError("over"))
    assert number(await inbox.get()) == 1
    for _ in range(2):
        with pytest.raises(KeyError):
            await inbox.get()
    other = Inbox(max_count=4, max_bytes=100)
    waiting = [asyncio.create_task(other.get()) for _ in range(3)]
    await asyncio.sleep(0)
    other.end(KeyError("over"))
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [KeyError] * 3
