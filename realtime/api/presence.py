"""Who is on a topic, over REST."""

import msgspec
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.api.access import open_for_reading, read_slice, wait_for
from realtime.api.parameters import READING, SLICE, TOPIC
from realtime.api.views import RestView
from realtime.core.messages import PresentSession, format_time
from realtime.openapi import operation
from realtime.runtime import find_runtime


class PresencePage(msgspec.Struct):
    """Subscribed sessions, the oldest first; `count` is the number of all."""

    count: int
    results: list[PresentSession]


class PresenceView(RestView):
    """`GET ?limit=&offset=`: the subscribed sessions, the oldest first."""

    @operation(
        "list_presence",
        tag="Topics",
        parameters=[TOPIC, *SLICE],
        answers={200: PresencePage},
        refusals=READING,
    )
    def get(self, request: Request, topic: str) -> Response:
        """Who is on a topic.

        The sessions that are subscribed to it, on all instances.
        """
        parsed, _ = open_for_reading(request, topic)
        part = read_slice(request)
        runtime = find_runtime()
        members = wait_for(runtime, runtime.read_members(parsed))
        results = [
            PresentSession(
                session=member.session, user=member.user, since=format_time(member.since / 1e6)
            )
            for member in members[part.offset : part.end]
        ]
        return Response(msgspec.to_builtins(PresencePage(len(members), results)))
