"""Live sessions over REST: who is connected, for the staff, and a way to end one."""

import uuid
from typing import Any

from rest_framework import status
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from realtime.api.access import (
    Slice,
    read_limit,
    read_parameters,
    require,
    write_sessions,
)
from realtime.conf import Policy
from realtime.control import disconnect
from realtime.core.errors import NotFound
from realtime.core.messages import format_time
from realtime.core.queries import parse_integer
from realtime.models import Session
from realtime.runtime import find_runtime

# Parameters, and what they are compared with.
FILTERS = {
    "user": "user__username",
    "topic": "topic",
    "instance": "instance",
    "address": "address",
}


class SessionsView(APIView):
    """`GET ?user=&topic=&instance=&address=&limit=&offset=`: the newest first."""

    permission_classes = (AllowAny,)  # `require()` answers in the words of the protocol

    def get(self, request: Request) -> Response:
        """Live sessions of all instances. Their counts are some seconds old."""
        require(Policy.STAFF, request, "only staff may list sessions")
        query = read_parameters(request, {*FILTERS, "limit", "offset"})
        part = Slice(read_limit(query), parse_integer("offset", query.get("offset", "0")))
        write_sessions()
        sessions = Session.objects.live().filter(
            **{field: query[name] for name, field in FILTERS.items() if name in query}
        )
        rows = sessions.select_related("user").order_by("-connected_at", "-pk")
        return Response(
            {
                "count": sessions.count(),
                "results": [_describe(row) for row in rows[part.offset : part.end]],
            }
        )


class SessionView(APIView):
    """`DELETE`: end a session with 4002, on whatever instance it is."""

    permission_classes = (AllowAny,)

    def delete(self, request: Request, id: str) -> Response:
        """204 when the word is out; the client may come back."""
        require(Policy.STAFF, request, "only staff may disconnect sessions")
        try:
            key = uuid.UUID(id)
        except ValueError:
            raise NotFound("a session's id is a UUID") from None
        write_sessions()
        if not Session.objects.live().filter(pk=key).exists():
            raise NotFound("there is no such live session")
        find_runtime()  # or the answer is that nobody could be told
        disconnect(session=str(key))
        return Response(status=status.HTTP_204_NO_CONTENT)


def _describe(row: Session) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "user": row.user.get_username() if row.user else None,
        "topic": row.topic,
        "address": row.address,
        "user_agent": row.user_agent,
        "instance": row.instance_id,
        "connected_at": format_time(row.connected_at.timestamp()),
        "messages_in": row.messages_in,
        "messages_out": row.messages_out,
        "bytes_in": row.bytes_in,
        "bytes_out": row.bytes_out,
        "errors": row.errors,
        "skipped": row.skipped,
        "waiting_bytes": row.waiting_bytes,
    }
