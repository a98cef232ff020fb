"""Who is on a topic, over REST."""

from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from realtime.api.access import open_for_reading, read_slice, wait_for
from realtime.core.messages import format_time
from realtime.runtime import find_runtime


class PresenceView(APIView):
    """`GET ?limit=&offset=`: the subscribed sessions, the oldest first."""

    permission_classes = (AllowAny,)  # the namespace's policy decides

    def get(self, request: Request, topic: str) -> Response:
        """The sessions, on all instances."""
        parsed, _ = open_for_reading(request, topic)
        part = read_slice(request)
        runtime = find_runtime()
        members = wait_for(runtime, runtime.read_members(parsed))
        return Response(
            {
                "count": len(members),
                "results": [
                    {
                        "session": member.session,
                        "user": member.user,
                        "since": format_time(member.since / 1e6),
                    }
                    for member in members[part.offset : part.end]
                ],
            }
        )
