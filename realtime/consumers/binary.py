"""Arrays and other bytes, published or made on request."""

import asyncio
import logging
import time
from typing import Any

import numpy as np

from realtime.conf import Format
from realtime.consumers.uploads import UploadConsumer
from realtime.core.addresses import name_sender
from realtime.core.entries import NPY
from realtime.core.errors import (
    ArrayTooBig,
    CodedError,
    InvalidArray,
    InvalidMessage,
    MessageTooBig,
    NotSupported,
    RateLimited,
)
from realtime.core.messages import AnyClientMessage, ArrayRequest, convert
from realtime.core.npy import measure_array, write_array
from realtime.encoding import build_binary_header, frame_binary
from realtime.frames import Frames
from realtime.project_code import call_code, find_threads
from realtime.sources import Array, Source, find_source

logger = logging.getLogger("realtime.sources")


class BinaryConsumer(UploadConsumer):
    """Kind `binary`."""

    _request: asyncio.Task[None] | None = None

    def expand(self, fields: dict[str, object]) -> AnyClientMessage:
        if "shape" in fields:
            return convert(fields, ArrayRequest)
        return super().expand(fields)

    async def handle_message(self, message: AnyClientMessage) -> None:
        if isinstance(message, ArrayRequest):
            self._begin_request(message)
        else:
            await super().handle_message(message)

    def _begin_request(self, request: ArrayRequest) -> None:
        if self.namespace.format is not Format.NPY:
            raise NotSupported("this topic makes no arrays; ask on a topic of format npy")
        source = find_source(request.source)
        try:
            size = measure_array(request.shape, request.dtype)
        except ArrayTooBig as error:
            raise MessageTooBig(error.detail) from error
        except InvalidArray as error:
            raise InvalidMessage(error.detail) from error
        if size > self.settings.max_request_bytes:
            raise MessageTooBig(
                f"that array takes {size} bytes; at most {self.settings.max_request_bytes}"
            )
        if self._request is not None:
            raise RateLimited("one request at a time: wait for the last array")
        sender = name_sender(self.session.user_id, self.session.address)
        self._check_room(sender, size)
        self.runtime.requested_bytes[sender] += size
        self._request = self.runtime.run_soon(self._answer(request, source, sender, size))

    def _check_room(self, sender: str, size: int) -> None:
        requested, most = self.runtime.requested_bytes, self.settings.max_requests_bytes
        if requested.total() + size > most:
            raise RateLimited("too many arrays are being made; ask again in a moment")
        # Else one who asks for the longest and reads none of them keeps all others from theirs.
        if requested[sender] + size > max(most * 3 // 4, self.settings.max_request_bytes):
            raise RateLimited("too many arrays are being made for you; read those first")

    async def _answer(self, request: ArrayRequest, source: Source, sender: str, size: int) -> None:
        # Not cancelled when the session ends: the thread computes on, and counts until it is done.
        try:
            threads = find_threads(f"source {request.source}")
            frames = await call_code(self._make, request, source, threads=threads)
            await self.outbox.put_when_drained(frames)
            await self.outbox.drained()
        except CodedError as error:
            self.send_error(error, request.ref)
        finally:
            self.runtime.requested_bytes[sender] -= size
            if not self.runtime.requested_bytes[sender]:
                del self.runtime.requested_bytes[sender]
            self._request = None

    def _make(self, request: ArrayRequest, source: Source) -> Frames:
        """Run the source, in a thread; raises CodedError."""
        shape, dtype = tuple(request.shape), np.dtype(request.dtype)
        try:
            data = write_array(_expect(source(shape, dtype), shape, dtype))
        except CodedError:
            raise
        except Exception as error:
            logger.exception("an array source failed", extra={"source": request.source})
            raise CodedError(f"the source {request.source!r} failed") from error
        header = build_binary_header(
            topic=self.topic,
            offset=None,
            format=NPY,
            data=data,
            user=None,
            time=time.time(),
            ref=request.ref,
        )
        return frame_binary(header, data)


def _expect(result: Any, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> Array:
    if not isinstance(result, np.ndarray | np.generic):
        raise TypeError(f"expected an array, got {type(result)}")
    if result.shape != shape or result.dtype != dtype:
        raise TypeError(f"expected {dtype} of {shape}, got {result.dtype} of {result.shape}")
    return np.asarray(result)
