"""Which topics are in use, for who may see sessions."""

import msgspec
from django.db.models import Count
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.api.access import VIEW, read_slice, require, write_sessions
from realtime.api.parameters import LISTING, SIGNED_IN, SLICE
from realtime.api.views import RestView
from realtime.models import Session
from realtime.openapi import operation


class ActiveTopic(msgspec.Struct):
    """A topic, and how many sessions it has."""

    topic: str
    sessions: int


class TopicPage(msgspec.Struct):
    """Topics by name; `count` is the number of all."""

    count: int
    results: list[ActiveTopic]


class TopicsView(RestView):
    """`GET ?limit=&offset=`: topics with live sessions on any instance, by name."""

    @operation(
        "list_topics",
        tag="Topics",
        parameters=SLICE,
        answers={200: TopicPage},
        refusals=LISTING,
        auth=SIGNED_IN,
    )
    def get(self, request: Request) -> Response:
        """Topics in use.

        Needs the permission `realtime.view_session`. Each has how many sessions it has on all
        instances; those without any are left out.
        """
        require(VIEW, request, f"to list topics takes the permission {VIEW}")
        part = read_slice(request)
        write_sessions()
        topics = (
            Session.objects.live()
            .filter(topic__contains=":")  # a session of the echo endpoint has no topic
            .values("topic")
            .annotate(sessions=Count("pk"))
            .order_by("topic")
        )
        rows, count = part.read(topics)
        return Response(msgspec.to_builtins(TopicPage(count, [ActiveTopic(**row) for row in rows])))
