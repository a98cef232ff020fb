"""Which topics are in use, for the staff."""

from django.db.models import Count
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from realtime.api.access import read_slice, require, write_sessions
from realtime.conf import Policy
from realtime.models import Session


class TopicsView(APIView):
    """`GET ?limit=&offset=`: topics with live sessions on any instance, by name."""

    permission_classes = (AllowAny,)  # `require()` answers in the words of the protocol

    def get(self, request: Request) -> Response:
        """The topics, each with how many sessions it has."""
        require(Policy.STAFF, request, "only staff may list topics")
        part = read_slice(request)
        write_sessions()
        topics = (
            Session.objects.live()
            .filter(topic__contains=":")  # a session of the echo endpoint has no topic
            .values("topic")
            .annotate(sessions=Count("pk"))
            .order_by("topic")
        )
        results = list(topics[part.offset : part.end])
        return Response({"count": topics.count(), "results": results})
