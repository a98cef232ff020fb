"""What one session has published and waits for: bounded, and acknowledged in order."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from realtime.conf import Settings
from realtime.core.errors import CodedError
from realtime.core.messages import Ack, Ref, encode_message
from realtime.core.topics import Topic
from realtime.frames import Frames, frame_text, join_frames
from realtime.pipeline import Receipt


class Submissions:
    """The publications of a session that the history has not answered for yet."""

    __slots__ = ("_acks", "_answered", "_bytes", "_count", "_loop", "_outbox", "_refuse", "_topic")

    def __init__(
        self, topic: Topic, *, outbox: Any, refuse: Callable[[CodedError, Ref], None]
    ) -> None:
        self._topic = str(topic)
        self._outbox = outbox
        self._refuse = refuse
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._bytes = 0
        self._acks: list[Frames] = []  # of this turn of the loop
        self._answered: asyncio.Future[None] | None = None

    def add(self, future: asyncio.Future[Receipt], *, size: int, ref: Ref) -> None:
        """Answer with an ack or an error, once the history has."""
        self._count += 1
        self._bytes += size
        future.add_done_callback(partial(self._settle, ref, size))

    def is_full(self, settings: Settings) -> bool:
        """Whether the session has to wait before it is read on."""
        return (
            self._count >= settings.session_pending_publishes
            or self._bytes >= settings.session_pending_bytes
        )

    async def wait_for_one(self) -> None:
        """Wait until the history has answered for one more."""
        self._answered = self._loop.create_future()
        await self._answered

    async def wait_for_all(self) -> None:
        """Wait until the history has answered for everything."""
        while self._count:
            await self.wait_for_one()

    def send_acks(self) -> None:
        """Hand out the acks that are ready: those of one commit leave in one write."""
        if self._acks:
            acks, self._acks = self._acks, []
            self._outbox.put(acks[0] if len(acks) == 1 else join_frames(acks))

    def _settle(self, ref: Ref, size: int, future: asyncio.Future[Receipt]) -> None:
        self._count -= 1
        self._bytes -= size
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)
        if future.cancelled():
            return
        error = future.exception()
        if isinstance(error, CodedError):
            self.send_acks()
            self._refuse(error, ref)
        elif ref is not None:
            if not self._acks:
                self._loop.call_soon(self.send_acks)
            self._acks.append(self._build_ack(ref, future.result()))

    def _build_ack(self, ref: Ref, receipt: Receipt) -> Frames:
        position = receipt.position
        ack = Ack(
            ref=ref,
            topic=self._topic,
            offset=position.offset if position else None,
            epoch=position.epoch if position else None,
            duplicate=receipt.duplicate,
        )
        return frame_text(encode_message(ack))
