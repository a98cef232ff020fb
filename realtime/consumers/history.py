"""A page of the past, for the `history` message."""

from realtime.conf import Namespace
from realtime.core.errors import NotSupported
from realtime.core.messages import BinaryHeader, HistoryQuery, HistoryReply, Publication
from realtime.core.topics import Topic
from realtime.encoding import LivePublication
from realtime.history import History

# A reply stops after the publication that takes it over this many bytes.
REPLY_BYTES = 1024 * 1024


async def read_history(
    history: History, topic: Topic, namespace: Namespace, query: HistoryQuery
) -> HistoryReply:
    """Publications after an offset, ascending; raises NotSupported, Unavailable.

    `complete` is false where some after `after` are gone, or where `epoch` is another one: then
    the reply begins with the first retained publication. Binary topics list headers.
    """
    if not namespace.history_size:
        raise NotSupported("this topic keeps no history")
    page = await history.read(topic, after=query.after, limit=query.limit)
    complete = query.epoch in (None, page.epoch) and page.first <= query.after + 1
    if query.epoch not in (None, page.epoch):
        page = await history.read(topic, after=0, limit=query.limit)
    epoch, publications, size = page.epoch, [], 0
    while page.bodies and page.epoch == epoch:
        for number, body in enumerate(page.bodies, page.start):
            message: Publication | BinaryHeader = LivePublication(
                topic, number=number, body=body
            ).describe()
            publications.append(message)
            size += len(body) if isinstance(message, Publication) else 256
        left = query.limit - len(publications)
        if not left or size >= REPLY_BYTES:
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
