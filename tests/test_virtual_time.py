"""The loop that other tests run in."""

import asyncio
from typing import Any

import pytest

from realtime.conf import build_settings
from realtime.core.topics import Topic
from realtime.history import Batch, Item
from realtime.history.memory import MemoryHistory
from tests.topics import build_namespace
from tests.virtual_time import VirtualLoop
from tests.virtual_time import virtual_time as virtual_time

pytestmark = pytest.mark.usefixtures("virtual_time")


@pytest.fixture
async def loop_of_a_fixture() -> Any:
    return asyncio.get_running_loop()


async def test_tests_and_their_fixtures_run_in_it(loop_of_a_fixture: Any) -> None:
    assert isinstance(loop_of_a_fixture, VirtualLoop)
    assert asyncio.get_running_loop() is loop_of_a_fixture


async def test_days_pass_at_once_and_what_is_due_comes_in_order() -> None:
    order: list[int] = []

    async def work(day: int) -> None:
        await asyncio.sleep(86_400 * day)
        order.append(day)

    await asyncio.gather(*map(work, (3, 1, 2)))
    assert order == [1, 2, 3]
    assert asyncio.get_running_loop().time() == pytest.approx(3 * 86_400)


async def test_publications_expire_in_it() -> None:
    history = MemoryHistory(build_settings({}))
    topic = Topic("broadcast", "a")
    await history.append([Batch(topic, build_namespace(history_ttl=3600), [Item(b"x")])])
    await asyncio.sleep(3590)
    assert len((await history.read(topic, after=0, limit=9)).bodies) == 1
    await asyncio.sleep(20)
    assert len((await history.read(topic, after=0, limit=9)).bodies) == 0


def test_who_waits_for_what_can_never_come_fails() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(AssertionError, match="everything waits"):
        asyncio.run(wait())
