"""From a publication to what goes on the wire: encoded once per process."""

from collections.abc import Sequence
from functools import cached_property

import msgspec
from msgspec import UNSET

from realtime.conf import get_settings
from realtime.core.entries import (
    JSON,
    NPY,
    SAMPLES,
    Body,
    StoredEntry,
    decode_entry,
    decode_head,
)
from realtime.core.messages import (
    BinaryHeader,
    Publication,
    Ref,
    encode_message,
    format_time,
)
from realtime.core.npy import parse_header
from realtime.core.samples import describe_samples
from realtime.core.topics import Topic
from realtime.frames import Frames, Payload, frame_text, join_frames


class LivePublication:
    """A publication on its way to the sessions of this process.

    `number` orders it within the process and its epoch; `offset` is what clients see: the same,
    or None where the namespace keeps no history. `size` is what it takes there, in bytes.
    """

    def __init__(self, topic: Topic, *, number: int, body: Body, has_history: bool = True) -> None:
        self.topic = topic
        self.number = number
        self.offset = number if has_history else None
        self.size = len(body)
        self.entry: StoredEntry = decode_entry(body)

    @cached_property
    def frames(self) -> Frames:
        """The frames that every session without a conflated predecessor shares."""
        return self.build_frames(skipped=0)

    def build_frames(self, *, skipped: int) -> Frames:
        """The frames for a session that missed `skipped` publications before this one."""
        if self.entry.format == JSON:
            return frame_text(encode_message(self.describe(skipped=skipped)))
        return frame_binary(self._build_header(skipped=skipped), self.entry.data)

    def describe(self, *, skipped: int = 0) -> Publication | BinaryHeader:
        """The message itself, or the header of a binary one."""
        entry = self.entry
        if entry.format not in (JSON, SAMPLES):
            return self._build_header(skipped=skipped)
        data = entry.data
        if entry.format == SAMPLES:
            data = msgspec.json.encode(describe_samples(data))
        return Publication(
            topic=str(self.topic),
            offset=self.offset,
            data=msgspec.Raw(data),
            user=entry.user,
            server_time=format_time(entry.time / 1e6),
            skipped=skipped or UNSET,
        )

    def _build_header(self, *, skipped: int) -> BinaryHeader:
        entry = self.entry
        return build_binary_header(
            topic=self.topic,
            offset=self.offset,
            format=entry.format,
            data=entry.data,
            user=entry.user,
            time=entry.time / 1e6,
            skipped=skipped,
        )


class Burst:
    """Publications in a row that leave together, joined once for all sessions."""

    def __init__(self, publications: Sequence[LivePublication]) -> None:
        self.publications = publications
        self.first = publications[0].number
        self.last = publications[-1].number

    @cached_property
    def frames(self) -> Frames:
        """All their frames, as one item."""
        return join_frames([publication.frames for publication in self.publications])


def build_binary_header(
    *,
    topic: Topic,
    offset: int | None,
    format: str,
    data: Payload,
    size: int | None = None,
    user: str | None,
    time: float,
    ref: Ref = None,
    skipped: int = 0,
) -> BinaryHeader:
    """The text message that announces `data`; `time` is in seconds since the epoch.

    `size` is given where `data` is only the beginning, with all of an array's header.
    """
    size = len(data) if size is None else size
    array = parse_header(data) if format == NPY else None
    return BinaryHeader(
        topic=str(topic),
        offset=offset,
        format=format,
        dtype=array.dtype.name if array else UNSET,
        shape=array.shape if array else UNSET,
        bytes=size,
        chunks=len(_cut_chunks(size)),
        user=user,
        server_time=format_time(time),
        ref=ref,
        skipped=skipped or UNSET,
    )


def describe_head(topic: Topic, *, offset: int, head: Body) -> BinaryHeader:
    """The same for a retained publication of which only the head was read."""
    entry = decode_head(head)
    return build_binary_header(
        topic=topic,
        offset=offset,
        format=entry.format,
        data=entry.beginning,
        size=entry.size,
        user=entry.user,
        time=entry.time / 1e6,
    )


def frame_binary(header: BinaryHeader, data: Payload) -> Frames:
    """The header and its chunks, as one item."""
    text = encode_message(header)
    view = memoryview(data)
    chunks = (view[part] for part in _cut_chunks(len(data)))
    return Frames((text, *chunks), len(text) + len(data))


def _cut_chunks(size: int) -> list[slice]:
    longest = get_settings().frame_limit
    return [slice(start, start + longest) for start in range(0, max(size, 1), longest)]
