"""The statistics of a topic over REST: one snapshot."""

from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from realtime.api.access import open_for_reading, read_parameters, wait_for
from realtime.core.windows import parse_fields, parse_window
from realtime.history import Page
from realtime.runtime import find_runtime
from realtime.snapshots import take_snapshot


class StatisticsView(APIView):
    """`GET ?window=&fields=`."""

    permission_classes = (AllowAny,)  # the namespace's policy decides

    def get(self, request: Request, topic: str) -> Response:
        """The `stats` message that a new subscriber would get."""
        parsed, namespace = open_for_reading(request, topic)
        query = read_parameters(request, {"window", "fields"})
        window = parse_window(query.get("window", namespace.window))
        fields = parse_fields(query.get("fields", ""))
        runtime = find_runtime()

        def read(*, after: int, limit: int) -> Page:
            return wait_for(runtime, runtime.history.read(parsed, after=after, limit=limit))

        return Response(take_snapshot(read, parsed, namespace, window, fields))
