"""Every message back, byte for byte."""

from typing import Any

from realtime.consumers.base import SessionConsumer
from realtime.core.entries import LongMessage
from realtime.core.queries import refuse_unknown
from realtime.frames import frame_bytes, frame_text
from realtime.limits import Excess


class EchoConsumer(SessionConsumer):
    """No envelope: what comes is what goes, the empty message too."""

    waits_for_credential = False
    has_envelope = False

    def check_path(self) -> None:
        self.policy = self.settings.echo_policy

    def check_parameters(self, query: dict[str, str]) -> None:
        refuse_unknown(query, set())

    async def handle_text(self, text: str) -> None:
        self.outbox.put(frame_text(text))
        if self.outbox.is_writing:  # a client that does not read is not read from
            await self.outbox.drained()

    async def handle_bytes(self, data: bytes | LongMessage) -> None:
        self.outbox.put(frame_bytes(data.view if isinstance(data, LongMessage) else data))
        if self.outbox.is_writing:
            await self.outbox.drained()

    async def handle_flood(self, event: dict[str, Any], excess: Excess) -> None:
        # There is no envelope for an error; the client finds its messages slowed down instead.
        await excess.wait()
