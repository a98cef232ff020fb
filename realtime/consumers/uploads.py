"""Binary publications from a client: a lone message, or a header and its chunks.

Section 5 of the protocol.
"""

import asyncio
from typing import Any

from realtime.consumers.topic import TopicConsumer
from realtime.core.close_codes import CloseCode
from realtime.core.entries import Chunks, Data, LongMessage
from realtime.core.errors import CodedError, InvalidArray, InvalidMessage, MessageTooBig
from realtime.core.messages import AnyClientMessage, BinaryUpload, Ref, convert, find_ref
from realtime.intake import check_format, take_bytes
from realtime.limits import Excess, Holding, Limit, Pace
from realtime.metrics import LIMITED

# Chunks below this size are put together as they come, for an object of its own costs each of them
# some forty bytes, and an upload may consist of any number of short or empty ones. In bytes.
SMALL_CHUNK = 4096


class Upload:
    """The chunks that a header announced, as they come; `limit` bounds their `size` in bytes.

    A refused upload drops what is left of it, so that the message after it is understood.
    """

    def __init__(self, header: BinaryUpload, *, limit: int, is_refused: bool = False) -> None:
        self.header = header
        self.is_refused = is_refused
        self._left = header.chunks
        self._limit = limit
        self.size = 0
        self._parts: list[bytes | bytearray | LongMessage] = []

    @property
    def is_complete(self) -> bool:
        """Whether the last chunk has come."""
        return self._left == 0

    def add(self, chunk: bytes | LongMessage) -> None:
        """Take the next chunk; raises MessageTooBig once, and drops the rest then."""
        self._left -= 1
        self.size += len(chunk)
        if self.is_refused:
            return
        if self.size > self._limit:
            self.is_refused = True
            self._parts.clear()
            raise MessageTooBig(f"the chunks of a publication are at most {self._limit} bytes")
        if len(chunk) >= SMALL_CHUNK or self.header.chunks == 1:
            self._parts.append(chunk)
        elif self._parts and isinstance(last := self._parts[-1], bytearray):
            last += bytes(chunk)
        else:
            self._parts.append(bytearray(bytes(chunk)))

    @property
    def data(self) -> Data:
        """The whole publication; long chunks are not copied."""
        parts = [
            memoryview(part).toreadonly() if isinstance(part, bytearray) else part
            for part in self._parts
        ]
        return parts[0] if len(parts) == 1 else Chunks(parts)


class UploadConsumer(TopicConsumer):
    """A topic that takes binary messages."""

    _upload: Upload | None = None
    _holding: Holding | None = None  # of its chunks
    _pace: Pace | None = None
    _deadline: asyncio.TimerHandle | None = None
    _progress = 0.0  # when the last chunk came, in the loop's time

    def release(self) -> None:
        self._end_upload()
        super().release()

    async def handle_message(self, message: AnyClientMessage) -> None:
        if isinstance(message, BinaryUpload):
            self._begin_upload(message)
        else:
            await super().handle_message(message)

    async def handle_bytes(self, data: bytes | LongMessage) -> None:
        upload = self._upload
        if upload is None:
            self.check_may_publish(None)
            await self._publish_bytes(data, format=None, ref=None, id=None)
            return
        header = upload.header
        try:
            upload.add(data)
            if not upload.is_complete:
                self._set_deadline()
                self._hold(upload)
                return
            self._end_upload()
            if not upload.is_refused:
                await self._publish_bytes(
                    upload.data, format=header.format, ref=header.ref, id=header.id
                )
        except CodedError as error:
            if upload.is_complete:
                self._end_upload()
            self.send_error(error, header.ref)

    def note_refused(self, fields: dict[str, Any]) -> None:
        """Drop what follows a malformed header, if that at least says how many chunks."""
        if fields.get("type") != "binary" or self._upload is not None:
            return
        known = {"type": "binary", "chunks": fields.get("chunks"), "ref": find_ref(fields)}
        try:
            header = convert(known, BinaryUpload)
        except InvalidMessage:
            return
        self._start(Upload(header, limit=self.settings.max_binary_bytes, is_refused=True))

    async def handle_flood(self, event: dict[str, Any], excess: Excess) -> None:
        # A header or a chunk that is refused alone would leave the rest without a meaning.
        if self._upload is None and '"binary"' not in (event.get("text") or ""):
            await super().handle_flood(event, excess)
            return
        if self._deadline is not None:  # the next chunk is there, and it is we who wait
            self._deadline.cancel()
            self._deadline = None
        began = self.loop.time()
        await excess.wait()
        if self._pace is not None:
            self._pace.forgive(self.loop.time() - began)
            self._set_deadline()

    def _begin_upload(self, header: BinaryUpload) -> None:
        if self._upload is not None:
            raise InvalidMessage("the chunks of the last header have not all come")
        limit = self.settings.max_binary_bytes
        try:
            self.check_may_publish(header.id)
            check_format(self.namespace, header.format)
        except CodedError:
            self._start(Upload(header, limit=limit, is_refused=True))
            raise
        self._start(Upload(header, limit=limit))

    def _start(self, upload: Upload) -> None:
        self._upload = upload
        self._pace = Pace(
            seconds=self.settings.upload_timeout,
            rate=self.settings.least_bytes_per_second,
            now=self.loop.time(),
        )
        self._set_deadline()

    def _hold(self, upload: Upload) -> None:
        """Count what has come; somebody may be cut for it, perhaps this session."""
        if self.reader is not None:
            self.reader.hand_over()
        size = 0 if upload.is_refused else upload.size
        if self._holding is None:
            if not size:
                return
            self._holding = self.runtime.limits.memory.open(self.owner, self.close)
        self._holding.hold(size)

    def _set_deadline(self) -> None:
        self._progress = self.loop.time()
        if self._deadline is None:
            seconds = min(self.settings.chunk_timeout, self.settings.upload_timeout)
            self._deadline = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        assert self._upload is not None
        assert self._pace is not None
        seconds, now = self.settings.chunk_timeout, self.loop.time()
        left = self._progress + seconds - now
        is_slow = (left_in_all := self._pace.find_left(self._upload.size, now)) <= 0
        if left > 0 and not is_slow:  # a chunk came meanwhile: one timer serves for all of them
            self._deadline = self.loop.call_later(min(left, left_in_all), self._give_up)
            return
        LIMITED.labels(Limit.MESSAGE_TIME).inc()
        self.send_error(
            InvalidArray(
                "the chunks come too slowly: the upload was given up"
                if left > 0
                else f"the next chunk did not come within {seconds:g} s"
            ),
            self._upload.header.ref,
        )
        self.close(CloseCode.BAD_REQUEST, "upload timed out")

    def _end_upload(self) -> None:
        self._upload = self._pace = None
        if self._holding is not None:
            holding, self._holding = self._holding, None
            holding.hold(0)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    async def _publish_bytes(
        self, data: Data, *, format: str | None, ref: Ref, id: str | None
    ) -> None:
        entry = await take_bytes(self.topic, self.namespace, data, self.session.user, format=format)
        await self.publish(entry, ref=ref, id=id)
