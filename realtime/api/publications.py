"""Publishing over REST, and reading what was published."""

from typing import Any

import msgspec
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiRequest
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.api.access import (
    find_user,
    open_for_publishing,
    open_for_reading,
    read_limit,
    read_parameters,
    wait_for,
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
from realtime.publishing import publish_for_receipt
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
        excerpt = wait_for(
            runtime,
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
        user = find_user(request)
        media_type = _find_media_type(request)
        if media_type != StrictJSONParser.media_type:
            # An empty body is given to no parser, and comes as an empty dictionary.
            data = request.data if isinstance(request.data, bytes) else b""
            format = NPY if media_type == NPY_TYPE else media_type
            if namespace.kind is Kind.BROADCAST:
                raise NotSupported('send JSON: {"data": …} with Content-Type: application/json')
            return self._publish(request, parsed, data, user=user, format=format)
        if namespace.kind is Kind.BINARY:
            raise NotSupported(f"send the array itself, with Content-Type: {NPY_TYPE}")
        if isinstance(request.data, dict) and "data" not in request.data:
            given = ", ".join(map(repr, request.data)) or "nothing"
            raise InvalidMessage(f'put what you publish under "data": {{"data": …}}, not {given}')
        body = convert(request.data, JSONPublication)
        if body.id is not None and user is None:
            raise PermissionDenied("without signing in no id can be given")
        return self._publish(request, parsed, body.data, user=user, id=body.id)

    def _publish(self, request: Request, topic: Topic, data: Any, **options: Any) -> Response:
        address = request.META.get("REMOTE_ADDR", "")
        receipt = publish_for_receipt(str(topic), data, address=address, **options)
        position = receipt.position
        answer = Receipt(
            offset=position.offset if position else None,
            epoch=position.epoch if position else None,
            duplicate=receipt.duplicate,
        )
        return Response(msgspec.to_builtins(answer), status=status.HTTP_201_CREATED)


def _find_media_type(request: Request) -> str:
    return (request.content_type or OCTET_STREAM).partition(";")[0].strip().lower()
