"""Who is on a topic, for the `presence` message."""

from collections.abc import Sequence

from realtime.core.messages import PresenceReply, PresentSession, Ref, format_time
from realtime.core.topics import Topic
from realtime.presence import Member

# A reply names at most so many sessions.
MOST_LISTED = 1000


def build_presence_reply(topic: Topic, members: Sequence[Member], *, ref: Ref) -> PresenceReply:
    """The first of the members, and how many there are."""
    return PresenceReply(
        ref=ref,
        topic=str(topic),
        sessions=[
            PresentSession(
                session=member.session, user=member.user, since=format_time(member.since / 1e6)
            )
            for member in members[:MOST_LISTED]
        ],
        count=len(members),
    )
