"""Long work lets others have the loop."""

import asyncio

import pytest

from realtime import turns
from realtime.turns import Turns


async def test_others_get_the_loop_after_each_go_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = iter([0.0, 0.0005, 0.0009, 0.0011, 5.0, 5.0005, 5.002, 9.0])
    monkeypatch.setattr(turns, "thread_time", lambda: next(ticks))
    other: list[int] = []

    async def count() -> None:
        while True:
            other.append(0)
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    work, seen = Turns(), []
    for _ in range(5):
        await work.pause()
        seen.append(len(other))
    counting.cancel()
    assert seen == [0, 0, 1, 1, 2]
