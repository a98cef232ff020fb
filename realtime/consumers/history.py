"""A page of the past, for the `history` message."""

from realtime.conf import Namespace, get_settings
from realtime.core.messages import HistoryQuery, HistoryReply
from realtime.core.topics import Topic
from realtime.excerpts import EXCERPT_BYTES, read_excerpt
from realtime.history import History


async def read_history(
    history: History, topic: Topic, namespace: Namespace, query: HistoryQuery
) -> HistoryReply:
    """Publications after an offset, as one message; raises NotSupported, Unavailable."""
    excerpt = await read_excerpt(
        history,
        topic,
        namespace,
        after=query.after,
        epoch=query.epoch,
        limit=query.limit,
        # No server sends a message above its limit.
        most_bytes=min(EXCERPT_BYTES, get_settings().frame_limit),
    )
    return HistoryReply(
        ref=query.ref,
        topic=str(topic),
        epoch=excerpt.epoch,
        top=excerpt.top,
        publications=excerpt.publications,
        complete=excerpt.complete,
    )
