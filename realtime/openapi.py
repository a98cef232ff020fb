"""What the OpenAPI document says of an endpoint: in the words of the protocol, at each view.

    @operation("list_topics", tag="Topics", answers={200: TopicPage}, refusals=[…])
    def get(self, request): …

Bodies are msgspec structures or serializers. The names below may be used by other apps.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from realtime.api.errors import STATUS
from realtime.core.errors import ErrorCode

REFERENCE = "#/components/schemas/{name}"

# What any call may be answered with, whatever the view: by the server and the gate before it, by
# REST framework for a client that takes no JSON, and where the server is in trouble.
ALWAYS = {
    400: {ErrorCode.INVALID_MESSAGE},
    406: {ErrorCode.NOT_SUPPORTED},
    408: {ErrorCode.UNAVAILABLE},
    413: {ErrorCode.MESSAGE_TOO_BIG},
    414: {ErrorCode.MESSAGE_TOO_BIG},
    429: {ErrorCode.RATE_LIMITED},
    431: {ErrorCode.MESSAGE_TOO_BIG},
    500: {ErrorCode.INTERNAL},
    503: {ErrorCode.UNAVAILABLE},
}
MEANINGS = {
    400: "The request is malformed, or nothing for this topic.",
    401: "There is no token where one is needed, or it is not good.",
    403: "This user may not do that.",
    404: "There is no such thing.",
    406: "The Accept header takes no format that there is.",
    408: "The request came too slowly.",
    413: "The body is too long.",
    414: "The URL is too long.",
    415: "The body has a media type that is not taken here.",
    422: "The namespace's processor refuses the data.",
    429: "Too many calls: wait as Retry-After says.",
    431: "The headers are too long.",
    500: "The server failed.",
    503: "What the server needs does not answer: try again as Retry-After says.",
}
BINARY: dict[str, Any] = {"type": "string", "format": "binary"}

View = TypeVar("View", bound=Callable[..., Any])


class Error(msgspec.Struct):
    """Any error: `detail` says what to change, `code` is for programs."""

    code: ErrorCode
    detail: str


class StructExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Lets a msgspec structure stand where a serializer does, under its own name."""

    target_class = "msgspec.Struct"
    match_subclasses = True

    def get_name(self, auto_schema: AutoSchema, direction: Any) -> str:
        """The name of the component."""
        return str(self.target.__name__)

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        """Its schema; those it refers to become components too."""
        _, components = msgspec.json.schema_components([self.target], ref_template=REFERENCE)
        for schema in components.values():
            if "description" in schema:
                schema["description"] = inspect.cleandoc(schema["description"])
        own: dict[str, Any] = components.pop(self.target.__name__)
        for name, schema in components.items():
            component = ResolvedComponent(name, ResolvedComponent.SCHEMA, schema, name)  # type: ignore[no-untyped-call]
            auto_schema.registry.register_on_missing(component)
        return own


def operation(
    id: str,
    *,
    tag: str,
    answers: Mapping[int, Any],
    refusals: Iterable[ErrorCode],
    parameters: Iterable[OpenApiParameter] = (),
    more_refusals: Mapping[int, set[ErrorCode]] | None = None,
    **options: Any,
) -> Callable[[View], View]:
    """Describes a view's method, of whose docstring the summary and the description are made.

    `answers` are its successes by status, each a structure, a serializer, or a text where it has
    no body. `refusals` are the codes of its errors, each with its own status; `more_refusals`
    those with another. What else `extend_schema` takes goes in `options`.
    """
    codes: dict[int, set[ErrorCode]] = {}
    for status, some in [*ALWAYS.items(), *(more_refusals or {}).items()]:
        codes.setdefault(status, set()).update(some)
    for code in refusals:
        codes.setdefault(STATUS[code], set()).add(code)
    errors = {status: _describe_errors(status, codes[status]) for status in sorted(codes)}

    def decorate(view: View) -> View:
        summary, _, description = (inspect.getdoc(view) or "").partition("\n")
        described: Callable[[View], View] = extend_schema(
            operation_id=id,
            tags=[tag],
            summary=summary.strip().rstrip("."),
            description=description.strip(),
            parameters=[*parameters, *_describe_headers(codes)],
            responses={
                **{key: _describe_answer(value) for key, value in answers.items()},
                **errors,
            },
            **options,
        )
        # Whatever the project's own schema class is, which an annotation would build upon.
        view.kwargs = {"schema": AutoSchema}  # type: ignore[attr-defined]
        return described(view)

    return decorate


def complete_document(result: dict[str, Any], **options: Any) -> dict[str, Any]:
    """A postprocessing hook of drf-spectacular: adds what the errors refer to."""
    _, components = msgspec.json.schema_components([Error], ref_template=REFERENCE)
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(components)
    return result


def _describe_answer(answer: Any) -> OpenApiResponse:
    if isinstance(answer, str):
        return OpenApiResponse(description=answer)
    if isinstance(answer, OpenApiResponse):
        return answer
    return OpenApiResponse(answer, description=(answer.__doc__ or "").partition("\n")[0])


def _describe_errors(status: int, codes: set[ErrorCode]) -> OpenApiResponse:
    error = {"$ref": REFERENCE.format(name=Error.__name__)}
    narrow = {"properties": {"code": {"enum": sorted(codes)}}}
    examples = [{"code": code, "detail": "what to change"} for code in sorted(codes)]
    schema = {"allOf": [error, narrow], "examples": examples}
    return OpenApiResponse(schema, description=MEANINGS[status])


def _describe_headers(codes: Mapping[int, set[ErrorCode]]) -> list[OpenApiParameter]:
    """The headers of errors, on those statuses that are there."""
    headers = [
        ("Retry-After", {429, 503}, OpenApiTypes.INT, "After how many seconds to try again."),
        ("WWW-Authenticate", {401}, OpenApiTypes.STR, "The scheme to authenticate with."),
    ]
    return [
        OpenApiParameter(
            name,
            type,
            OpenApiParameter.HEADER,
            required=True,
            description=description,
            response=sorted(statuses & codes.keys()),
        )
        for name, statuses, type, description in headers
        if statuses & codes.keys()
    ]
