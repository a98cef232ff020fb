"""A page of the past, for the `history` message."""

import msgspec

from realtime.conf import Namespace, get_settings
from realtime.core.errors import NotSupported
from realtime.core.messages import BinaryHeader, HistoryQuery, HistoryReply, Publication
from realtime.core.topics import Topic
from realtime.encoding import LivePublication
from realtime.history import History
from realtime.intake import ENVELOPE_BYTES

# A reply stops before the publication that would take it over this many bytes.
REPLY_BYTES = 1024 * 1024
# At most the JSON around the data of a publication; a binary header.
PUBLICATION_BYTES = 256
HEADER_BYTES = 1024


async def read_history(
    history: History, topic: Topic, namespace: Namespace, query: HistoryQuery
) -> HistoryReply:
    """Publications after an offset, ascending; raises NotSupported, Unavailable.

    The reply is one message and ends where it is full; a publication whose data would not even
    fit into a reply of its own (many thousand samples) is listed with `data` null. `complete` is
    false where some after `after` are gone, or where `epoch` is another one: then
    the reply begins with the first retained publication. Binary topics list headers.
    """
    if not namespace.history_size:
        raise NotSupported("this topic keeps no history")
    page = await history.read(topic, after=query.after, limit=query.limit)
    complete = query.epoch in (None, page.epoch) and page.first <= query.after + 1
    if query.epoch not in (None, page.epoch):
        page = await history.read(topic, after=0, limit=query.limit)
    # The reply is one message, which no server sends above its limit.
    room = min(REPLY_BYTES, get_settings().frame_limit) - ENVELOPE_BYTES
    epoch = page.epoch
    publications: list[Publication | BinaryHeader] = []
    while page.bodies and page.epoch == epoch:
        for number, body in enumerate(page.bodies, page.start):
            message = LivePublication(topic, number=number, body=body).describe()
            room -= _measure(message)
            if room < 0:
                if publications:
                    break
                message = _empty(message)
            publications.append(message)
        left = query.limit - len(publications)
        if not left or room < 0:
            break
        page = await history.read(topic, after=number, limit=left)
    return HistoryReply(
        ref=query.ref,
        topic=str(topic),
        epoch=epoch,
        top=page.top,
        publications=publications,
        complete=complete,
    )


def _measure(message: Publication | BinaryHeader) -> int:
    if isinstance(message, BinaryHeader):
        return HEADER_BYTES
    return PUBLICATION_BYTES + len(memoryview(message.data))


def _empty(message: Publication | BinaryHeader) -> Publication | BinaryHeader:
    if isinstance(message, BinaryHeader):
        return message
    return msgspec.structs.replace(message, data=msgspec.Raw(b"null"))
