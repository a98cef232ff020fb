"""Live sessions over REST: who is connected, and a way to end one; by Django's permissions."""

import uuid
from ipaddress import ip_address

import msgspec
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.api.access import (
    DISCONNECT,
    VIEW,
    Slice,
    is_permitted,
    read_limit,
    read_parameters,
    require,
    write_sessions,
)
from realtime.api.parameters import LISTING, RIGHTS, SESSION, SESSION_FILTERS, SIGNED_IN, SLICE
from realtime.api.views import RestView
from realtime.audit import find_actor
from realtime.control import end_sessions
from realtime.core.close_codes import CloseCode
from realtime.core.errors import ErrorCode, InvalidParameter, NotFound
from realtime.core.messages import format_time
from realtime.core.queries import parse_integer
from realtime.models import Session
from realtime.openapi import operation
from realtime.sessions import Target

# Parameters, and what they are compared with.
FILTERS = {
    "user": "user__username",
    "topic": "topic",
    "instance": "instance",
    "address": "address",
}


class LiveSession(msgspec.Struct):
    """A session and its counts, which are some seconds old."""

    id: str
    user: str | None
    topic: str
    address: str | None
    user_agent: str
    instance: str | None
    connected_at: str
    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int
    errors: int
    skipped: int
    waiting_bytes: int


class SessionPage(msgspec.Struct):
    """Live sessions, the newest first; `count` is the number of all."""

    count: int
    results: list[LiveSession]


class SessionsView(RestView):
    """`GET ?user=&topic=&instance=&address=&limit=&offset=`: the newest first."""

    @operation(
        "list_sessions",
        tag="Sessions",
        parameters=[*SESSION_FILTERS, *SLICE],
        answers={200: SessionPage},
        refusals=LISTING,
        auth=SIGNED_IN,
    )
    def get(self, request: Request) -> Response:
        """Live sessions of all instances.

        Needs the permission `realtime.view_session`. The counts are some seconds old.
        """
        require(VIEW, request, f"to list sessions takes the permission {VIEW}")
        query = read_parameters(request, {*FILTERS, "limit", "offset"})
        part = Slice(read_limit(query), parse_integer("offset", query.get("offset", "0")))
        if "address" in query:
            parse_address(query["address"])
        write_sessions()
        sessions = Session.objects.live().filter(
            **{field: query[name] for name, field in FILTERS.items() if name in query}
        )
        rows, count = part.read(sessions.select_related("user").order_by("-connected_at", "-pk"))
        return Response(msgspec.to_builtins(SessionPage(count, [_describe(row) for row in rows])))


class SessionView(RestView):
    """`DELETE`: end a session with 4002, on whatever instance it is."""

    @operation(
        "disconnect_session",
        tag="Sessions",
        parameters=[SESSION],
        answers={204: "The word is out."},
        refusals=[*RIGHTS, ErrorCode.NOT_FOUND],
        auth=SIGNED_IN,
    )
    def delete(self, request: Request, id: str) -> Response:
        """End a session, on whatever instance it is.

        Needs the permission `realtime.disconnect_session`. It closes with 4002: the client may
        come back. Whether there is such a session is told to who has `realtime.view_session` too;
        others get 204 all the same. Who ended it stands in the log and in the admin's history.
        """
        require(DISCONNECT, request, f"to disconnect a session takes the permission {DISCONNECT}")
        try:
            key = uuid.UUID(id)
        except ValueError:
            raise NotFound("a session's id is a UUID") from None
        write_sessions()
        if is_permitted(VIEW, request) and not Session.objects.live().filter(pk=key).exists():
            raise NotFound("there is no such live session")
        actor = find_actor(request.user, door="rest")
        end_sessions([Target(session=str(key))], code=CloseCode.DISCONNECTED, actor=actor)
        return Response(status=status.HTTP_204_NO_CONTENT)


def parse_address(text: str) -> str:
    """An address of IP; else InvalidParameter. To PostgreSQL it is a type, not any text."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise InvalidParameter("address: an address of IP, such as 192.0.2.1") from None


def _describe(row: Session) -> LiveSession:
    return LiveSession(
        id=str(row.pk),
        user=row.user.get_username() if row.user else None,
        topic=row.topic,
        address=row.address,
        user_agent=row.user_agent,
        instance=row.instance_id,
        connected_at=format_time(row.connected_at.timestamp()),
        messages_in=row.messages_in,
        messages_out=row.messages_out,
        bytes_in=row.bytes_in,
        bytes_out=row.bytes_out,
        errors=row.errors,
        skipped=row.skipped,
        waiting_bytes=row.waiting_bytes,
    )
