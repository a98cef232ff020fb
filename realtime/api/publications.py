"""Publishing over REST, and reading what was published."""

from typing import Any

import msgspec
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiRequest
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.api.access import (
    do_work,
    find_user,
    open_for_publishing,
    open_for_reading,
    read_body,
    read_limit,
    read_parameters,
)
from realtime.api.parameters import (
    AFTER,
    EPOCH,
    LIMIT,
    PUBLICATION_EXAMPLES,
    PUBLISHING,
    READING,
    TOPIC,
)
from realtime.api.parsers import BytesParser, StrictJSONParser, find_publication_limit
from realtime.api.views import RestView
from realtime.conf import Kind
from realtime.core.entries import NPY, OCTET_STREAM
from realtime.core.errors import ErrorCode, InvalidMessage, NotSupported, PermissionDenied
from realtime.core.messages import PublicationId, convert
from realtime.core.queries import parse_epoch, parse_integer
from realtime.core.topics import Topic
from realtime.excerpts import Excerpt, read_excerpt
from realtime.openapi import BINARY, operation
from realtime.runtime import find_runtime

NPY_TYPE = "application/x-npy"


class JSONPublication(msgspec.Struct, forbid_unknown_fields=True):
    """What is published as JSON; the same `id` again, within five minutes, publishes nothing."""

    data: Any
    id: PublicationId | None = None


class Receipt(msgspec.Struct):
    """Where the publication stands; null on a topic without history."""

    offset: int | None
    epoch: str | None
    duplicate: bool


class PublicationsView(RestView):
    """`GET ?after=&epoch=&limit=`; `POST {"data", "id"?}`, or bytes with their content type."""

    parser_classes = (StrictJSONParser, BytesParser)
    max_body_bytes = staticmethod(find_publication_limit)

    @operation(
        "read_history",
        tag="Topics",
        parameters=[TOPIC, AFTER, EPOCH, LIMIT],
        answers={200: Excerpt},
        refusals=[*READING, ErrorCode.NOT_SUPPORTED],
    )
    def get(self, request: Request, topic: str) -> HttpResponse:
        """The history of a topic after an offset, ascending.

        An answer is cut at 1 MiB: there is more while its last offset is below `top`.
        """
        parsed, namespace = open_for_reading(request, topic)
        query = read_parameters(request, {"after", "epoch", "limit"})
        runtime = find_runtime()
        excerpt = do_work(
            request,
            read_excerpt(
                runtime.history,
                parsed,
                namespace,
                after=parse_integer("after", query.get("after", "0")),
                epoch=parse_epoch(query["epoch"]) if "epoch" in query else None,
                limit=read_limit(query),
            ),
        )
        # Data that is JSON already goes out as it is, which a renderer cannot do.
        return HttpResponse(msgspec.json.encode(excerpt), content_type="application/json")

    @operation(
        "publish",
        tag="Topics",
        parameters=[TOPIC],
        request={
            StrictJSONParser.media_type: OpenApiRequest(
                JSONPublication, examples=PUBLICATION_EXAMPLES
            ),
            NPY_TYPE: BINARY,
            OCTET_STREAM: BINARY,
        },
        answers={201: Receipt},
        refusals=PUBLISHING,
    )
    def post(self, request: Request, topic: str) -> Response:
        """Publish to a topic.

        A broadcast topic takes JSON; a stats topic samples, as JSON or as a one-dimensional
        array; a binary topic an array (`application/x-npy`) or, where its namespace has the
        format `any`, a body of any media type. `id` makes it safe to repeat, and needs a user.
        """
        parsed, namespace = open_for_publishing(request, topic)
        media_type = _find_media_type(request)
        given = read_body(request)
        if media_type != StrictJSONParser.media_type:
            # An empty body is given to no parser, and comes as an empty dictionary.
            data = given if isinstance(given, bytes) else b""
            format = NPY if media_type == NPY_TYPE else media_type
            if namespace.kind is Kind.BROADCAST:
                raise NotSupported('send JSON: {"data": …} with Content-Type: application/json')
            return self._publish(request, parsed, data, format=format)
        if namespace.kind is Kind.BINARY:
            raise NotSupported(f"send the array itself, with Content-Type: {NPY_TYPE}")
        if isinstance(given, dict) and "data" not in given:
            names = ", ".join(map(repr, given)) or "nothing"
            raise InvalidMessage(f'put what you publish under "data": {{"data": …}}, not {names}')
        body = convert(given, JSONPublication)
        if body.id is not None and find_user(request) is None:
            raise PermissionDenied("without signing in no id can be given")
        return self._publish(request, parsed, body.data, id=body.id)

    def _publish(
        self,
        request: Request,
        topic: Topic,
        data: Any,
        *,
        id: str | None = None,
        format: str | None = None,
    ) -> Response:
        user = find_user(request)
        address = request.META.get("REMOTE_ADDR", "")
        publication = find_runtime().publish(
            topic, data, id=id, user=user, format=format, address=address
        )
        receipt = do_work(request, publication)
        position = receipt.position
        answer = Receipt(
            offset=position.offset if position else None,
            epoch=position.epoch if position else None,
            duplicate=receipt.duplicate,
        )
        return Response(msgspec.to_builtins(answer), status=status.HTTP_201_CREATED)


def _find_media_type(request: Request) -> str:
    return (request.content_type or OCTET_STREAM).partition(";")[0].strip().lower()
