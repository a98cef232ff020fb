"""A part of the past in one reply: for the `history` message, and over REST."""

import msgspec
from msgspec import Struct

from realtime.conf import Kind, Namespace
from realtime.core.errors import NotSupported
from realtime.core.messages import BinaryHeader, Publication
from realtime.core.topics import Topic
from realtime.encoding import LivePublication, describe_head
from realtime.history import History
from realtime.intake import ENVELOPE_BYTES
from realtime.turns import Turns

# An excerpt stops before the publication that would take it over this many bytes.
EXCERPT_BYTES = 1024 * 1024
# At most the JSON around the data of a publication; a binary header.
PUBLICATION_BYTES = 256
HEADER_BYTES = 1024


class Excerpt(Struct, frozen=True, kw_only=True):
    """Publications in a row, ascending; binary topics list headers.

    `complete` is false where some after the offset that was asked for are gone, or where the
    epoch that was asked for is another one: then it begins with the first retained publication.
    There is more to read while the last offset is below `top`.
    """

    epoch: str
    top: int
    publications: list[Publication | BinaryHeader]
    complete: bool


async def read_excerpt(
    history: History,
    topic: Topic,
    namespace: Namespace,
    *,
    after: int,
    epoch: str | None,
    limit: int,
    most_bytes: int = EXCERPT_BYTES,
) -> Excerpt:
    """Up to `limit` publications after an offset; raises NotSupported, Unavailable.

    A publication whose data would not even fit into a reply of its own (many thousand samples)
    is listed with `data` null.
    """
    if not namespace.history_size:
        raise NotSupported("this topic keeps no history")
    # Of a binary topic only headers are listed, and the data stays where it is.
    lists_headers = namespace.kind is Kind.BINARY
    read = history.read_heads if lists_headers else history.read
    page = await read(topic, after=after, limit=limit)
    complete = epoch in (None, page.epoch) and page.first <= after + 1
    if epoch not in (None, page.epoch):
        page = await read(topic, after=0, limit=limit)
    first_epoch, top, number = page.epoch, page.top, page.start - 1
    room = most_bytes - ENVELOPE_BYTES
    publications: list[Publication | BinaryHeader] = []
    turns = Turns()
    # What is trimmed or replaced meanwhile ends the excerpt: there are no holes in one.
    while page.bodies and page.epoch == first_epoch and page.start == number + 1:
        top = page.top
        for number, body in enumerate(page.bodies, page.start):
            await turns.pause()
            message: Publication | BinaryHeader
            if lists_headers:
                message = describe_head(topic, offset=number, head=body)
            else:
                message = LivePublication(topic, number=number, body=body).describe()
            room -= _measure(message)
            if room < 0:
                if publications:
                    break
                message = _empty(message)
            publications.append(message)
        left = limit - len(publications)
        if not left or room < 0 or number >= top:
            break
        page = await read(topic, after=number, limit=left)
    return Excerpt(epoch=first_epoch, top=top, publications=publications, complete=complete)


def _measure(message: Publication | BinaryHeader) -> int:
    if isinstance(message, BinaryHeader):
        return HEADER_BYTES
    return PUBLICATION_BYTES + len(memoryview(message.data))


def _empty(message: Publication | BinaryHeader) -> Publication | BinaryHeader:
    if isinstance(message, BinaryHeader):
        return message
    return msgspec.structs.replace(message, data=msgspec.Raw(b"null"))
