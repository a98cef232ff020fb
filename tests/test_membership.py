"""A group of the channel layer is joined once, and left a while after the last holder."""

import asyncio
import random
from typing import Any

import pytest

from realtime.conf import build_settings
from realtime.core.errors import Unavailable
from realtime.hub import Hub
from tests.topics import (
    TOPIC,
    FakeLayer,
    Stage,
    WatchedHistory,
    build_namespace,
    settle,
    wait_until,
)
from tests.virtual_time import virtual_time as virtual_time

pytestmark = pytest.mark.usefixtures("virtual_time")

GROUP = TOPIC.group


class TestMembership:
    """Join with the first, leave a while after the last, never both at once."""

    async def test_the_group_is_joined_once_for_all_holders(self) -> None:
        stage = Stage()
        await asyncio.gather(*(stage.held.hold() for _ in range(5)))
        assert stage.layer.calls == [("join", GROUP)]
        assert stage.held.is_ready

    async def test_the_group_is_left_after_the_delay_and_only_by_the_last(self) -> None:
        stage = Stage(leave_delay=0.03)
        await stage.held.hold()
        await stage.held.hold()
        stage.held.release()
        await settle(0.06)
        assert stage.layer.calls == [("join", GROUP)]
        stage.held.release()
        await settle(0.01)
        assert stage.layer.calls == [("join", GROUP)]
        await wait_until(lambda: stage.left)
        assert stage.layer.calls == [("join", GROUP), ("leave", GROUP)]
        assert stage.left == [stage.held]

    async def test_a_holder_within_the_delay_keeps_the_group(self) -> None:
        stage = Stage(leave_delay=0.02)
        await stage.held.hold()
        stage.held.release()
        await stage.held.hold()
        await settle(0.05)
        assert (stage.layer.calls, stage.left) == ([("join", GROUP)], [])

    async def test_a_holder_who_comes_while_the_group_is_left_joins_it_after_that(self) -> None:
        stage = Stage(leave_delay=0)
        await stage.held.hold()
        stage.layer.gate.clear()
        stage.held.release()
        await settle(0.01)
        newcomer = asyncio.create_task(stage.held.hold())
        await settle(0.01)
        assert stage.layer.calls == [("join", GROUP), ("leave", GROUP)]
        assert not newcomer.done()
        stage.layer.gate.set()
        await asyncio.wait_for(newcomer, 1)
        assert stage.layer.calls[2:] == [("join", GROUP)]
        assert (stage.held.is_ready, stage.left) == (True, [])

    async def test_a_topic_given_up_while_it_is_joined_is_left_after_that(self) -> None:
        stage = Stage(leave_delay=0)
        stage.layer.gate.clear()
        holder = asyncio.create_task(stage.held.hold())
        await settle(0.01)
        holder.cancel()
        await settle(0.01)
        stage.layer.gate.set()
        await wait_until(lambda: stage.left)
        assert stage.layer.calls == [("join", GROUP), ("leave", GROUP)]

    async def test_one_who_gives_up_while_the_group_is_left_does_not_have_it_left_twice(
        self,
    ) -> None:
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, error: errors.append(error))
        stage = Stage(leave_delay=0)
        await stage.held.hold()
        stage.layer.gate.clear()
        stage.held.release()
        await settle(0.005)
        newcomer = asyncio.create_task(stage.held.hold())
        await settle(0.005)
        newcomer.cancel()
        await settle(0.005)
        stage.layer.gate.set()
        await wait_until(lambda: stage.left)
        assert errors == []
        assert stage.layer.calls == [("join", GROUP), ("leave", GROUP)]

    async def test_a_topic_that_was_forgotten_never_leaves_the_group_of_its_successor(
        self,
    ) -> None:
        layer = FakeLayer()
        hub = Hub(
            settings=build_settings({"GROUP_LEAVE_DELAY": 0.02}),
            layer=layer,  # type: ignore[arg-type]
            history=WatchedHistory(),
            on_control=lambda _: None,
        )
        held = await hub.hold(TOPIC, build_namespace())
        layer.gate.clear()
        held.release()
        await wait_until(lambda: layer.calls[-1] == ("leave", GROUP))
        newcomer = asyncio.create_task(hub.hold(TOPIC, build_namespace()))
        await settle(0.005)
        newcomer.cancel()
        await settle(0.005)
        layer.gate.set()
        await settle(0.005)
        successor = await hub.hold(TOPIC, build_namespace())
        assert successor is not held
        await settle(0.05)
        assert successor.is_ready
        assert layer.calls[2:] == [("join", GROUP)]

    async def test_a_failed_join_is_told_to_every_holder_and_tried_again_by_the_next(
        self,
    ) -> None:
        stage = Stage()
        stage.layer.is_down = True
        results = await asyncio.gather(
            *(stage.held.hold() for _ in range(3)), return_exceptions=True
        )
        assert [type(result) for result in results] == [Unavailable] * 3
        stage.layer.is_down = False
        await stage.held.hold()
        assert stage.held.is_ready

    async def test_a_join_without_a_history_that_answers_fails(self) -> None:
        stage = Stage()
        stage.history.is_down = True
        with pytest.raises(Unavailable):
            await stage.held.hold()
        stage.history.is_down = False
        await stage.append(3)
        await stage.held.hold()
        assert stage.held.position.offset == 3

    async def test_a_leave_that_fails_is_an_end_too(self) -> None:
        stage = Stage(leave_delay=0)
        await stage.held.hold()
        stage.layer.is_down = True
        stage.held.release()
        await wait_until(lambda: stage.left)

    async def test_random_comings_and_goings_never_cross(self) -> None:
        """Joins and leaves alternate, and the last call fits whether somebody is there."""
        random_ = random.Random(7)
        stage = Stage(leave_delay=0)

        async def stay() -> None:
            await asyncio.sleep(random_.random() * 0.05)
            await stage.held.hold()
            await asyncio.sleep(random_.random() * 0.005)
            stage.held.release()

        async def jam() -> None:
            for _ in range(20):
                stage.layer.gate.clear()
                await asyncio.sleep(random_.random() * 0.002)
                stage.layer.gate.set()
                await asyncio.sleep(random_.random() * 0.002)

        await asyncio.gather(jam(), *(stay() for _ in range(30)))
        await wait_until(lambda: stage.layer.calls[-1][0] == "leave" and stage.left)
        names = [name for name, _ in stage.layer.calls]
        assert names == ["join", "leave"] * (len(names) // 2)
        assert len(names) >= 4
