"""The hub: one per process, it holds each topic that a local session wants.

It owns the process's one channel on the channel layer and joins a topic's group when the first
local follower comes, so each publication crosses Redis once per process and is decoded once.
What arrives is put in order and made whole from the history before anyone sees it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from realtime.conf import Namespace, Settings
from realtime.core.entries import Body
from realtime.core.errors import Unavailable
from realtime.core.positions import Position
from realtime.core.recent import Recent
from realtime.core.topics import Topic, parse_topic
from realtime.held_topics import HeldTopic
from realtime.history import PUBLICATIONS, History
from realtime.layer import Layer
from realtime.redis_errors import quote

logger = logging.getLogger("realtime.hub")

# Positions are compared with the history's tops this often, so many topics a call.
CHECK_INTERVAL = 1.0
CHECK_SLICE = 200
CHECK_MOST = 4000
# A top that is ahead counts only if it still is after this time.
CHECK_PATIENCE = 0.1

RECEIVE_RETRY_DELAY = 0.5


class Hub:
    """The topics held by this process. `on_control` gets every message that is no publication."""

    def __init__(
        self,
        *,
        settings: Settings,
        layer: Layer,
        history: History,
        on_control: Callable[[dict[str, Any]], None],
    ) -> None:
        self._settings = settings
        self._layer = layer
        self._history = history
        self._on_control = on_control
        self._topics: dict[Topic, HeldTopic] = {}
        self._recent = Recent(max_bytes=settings.recent_bytes)
        self._checked_up_to = 0

    async def hold(self, topic: Topic, namespace: Namespace) -> HeldTopic:
        """Hold a topic for one more follower; raises Unavailable. Let it go with `release()`."""
        held = self._topics.get(topic)
        if held is None:
            held = self._topics[topic] = HeldTopic(
                topic,
                namespace,
                layer=self._layer,
                history=self._history,
                recent=self._recent,
                leave_delay=self._settings.group_leave_delay,
                on_left=self._forget,
            )
        await held.hold()
        return held

    def deliver(
        self,
        topic: Topic,
        *,
        epoch: str | None,
        offset: int,
        first: int,
        bodies: list[Body | None],
        link: bytes = b"",
    ) -> None:
        """Take a batch with the offsets `offset`, `offset` + 1, … (None: read it from the
        history). `epoch` None means that the namespace keeps no history."""
        held = self._topics.get(topic)
        if held is not None:
            held.accept(epoch=epoch, offset=offset, first=first, bodies=bodies, link=link)

    def find_position(self, topic: Topic) -> Position | None:
        """The last publication of a topic that this process has, if it holds the topic."""
        held = self._topics.get(topic)
        return held.position if held is not None and held.is_ready else None

    async def receive_forever(self) -> None:
        """Take what the channel layer brings, until cancelled."""
        while True:
            try:
                self._take(await self._layer.receive())
            except Unavailable as error:
                logger.warning("the channel layer does not answer: %s", quote(error))
                await asyncio.sleep(RECEIVE_RETRY_DELAY)
            except Exception:
                # One message that cannot be read, not even by the layer, must not deafen the
                # whole process.
                logger.exception("a message on the channel layer is none of ours")
                await asyncio.sleep(0)  # many of them must not stop the loop either

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == PUBLICATIONS:
            self.deliver(
                parse_topic(message["topic"]),
                epoch=message["epoch"],
                offset=message["offset"],
                first=message["first"],
                bodies=message["entries"],
                link=message["link"],
            )
        else:
            self._on_control(message)

    async def check_forever(self) -> None:
        """Compare positions with the history each second: the layer may have lost something."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                await self._check_positions()
            except Unavailable as error:
                logger.warning("positions could not be checked: %s", quote(error))

    async def _check_positions(self) -> None:
        held = [held for held in self._topics.values() if held.is_ready and held.keeps_history]
        start = self._checked_up_to if self._checked_up_to < len(held) else 0
        turn = held[start : start + CHECK_MOST]
        self._checked_up_to = start + len(turn)
        for index in range(0, len(turn), CHECK_SLICE):
            suspects = await self._find_suspects(turn[index : index + CHECK_SLICE])
            if suspects:
                await asyncio.sleep(CHECK_PATIENCE)
                for suspect in await self._find_suspects(suspects):
                    suspect.catch_up()

    async def _find_suspects(self, topics: list[HeldTopic]) -> list[HeldTopic]:
        """Those whose top is another than what was handed on (before or while it was read)."""
        asked = [held for held in topics if held.is_ready]
        unlike = {held: held.position for held in asked}
        tops = await self._history.read_tops([held.topic for held in asked])
        return [
            held
            for held, top in zip(asked, tops, strict=True)
            if held.differs_from(top) and held.position == unlike[held]
        ]

    def _forget(self, held: HeldTopic) -> None:
        if self._topics.get(held.topic) is held:
            del self._topics[held.topic]
