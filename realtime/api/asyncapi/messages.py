"""All messages of the document: those with a structure, the short forms, and binary ones."""

from typing import Any

from realtime.api.asyncapi.binary_messages import BINARY_MESSAGES, ECHO_MESSAGES
from realtime.api.asyncapi.client_messages import CLIENT_MESSAGES
from realtime.api.asyncapi.descriptions import Description
from realtime.api.asyncapi.schemas import SERVER_MESSAGES
from realtime.api.asyncapi.statistics import STATISTICS_EXAMPLES
from realtime.conf import Kind

JSON = "application/json"
CORRELATION = {"$ref": "#/components/correlationIds/ref"}


def build_messages() -> dict[str, Any]:
    """Messages by name, as `components.messages` has them."""
    described = {one.name: _build(one) for one in (*CLIENT_MESSAGES, *SERVER_MESSAGES)}
    return {
        **described,
        **_SHORT_FORMS,
        "Statistics": _STATISTICS,
        **BINARY_MESSAGES,
        **ECHO_MESSAGES,
    }


def _build(one: Description) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": one.tag,
        "title": one.title,
        "summary": one.summary,
        "contentType": JSON,
        "payload": {"$ref": f"#/components/schemas/{one.name}"},
        "examples": _list_examples(one.examples),
    }
    if one.details:
        message["description"] = one.details
    if one.kinds:
        message["tags"] = [{"name": str(kind)} for kind in one.kinds]
    if "ref" in one.fields:
        message["correlationId"] = CORRELATION
    return message


def _list_examples(examples: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "payload": payload} for name, payload in examples.items()]


_STATISTICS = {
    "name": "stats",
    "title": "Statistics",
    "summary": "The figures of your window, as they stood right after the publication `offset`.",
    "description": (
        "With `skipped` it stands for as many more publications that got no message of their own."
    ),
    "tags": [{"name": str(Kind.STATS)}],
    "contentType": JSON,
    "payload": {"$ref": "#/components/schemas/Statistics"},
    "examples": _list_examples(STATISTICS_EXAMPLES),
}
_SHORT_FORMS: dict[str, Any] = {
    "PublishShort": {
        "name": "publish, short form",
        "title": "Publish, short form",
        "summary": "An object that has no `type` is itself the data of a publication.",
        "description": (
            "A `ref` or `id` in it is data too, and no `ack` comes. If your data has a `type` of "
            "its own, use the long form."
        ),
        "tags": [{"name": str(Kind.BROADCAST)}, {"name": str(Kind.STATS)}],
        "contentType": JSON,
        "payload": {"type": "object", "not": {"required": ["type"]}},
        "examples": _list_examples({"A greeting": {"text": "hello"}, "A sample": {"value": 3.2}}),
    },
    "ArrayRequestShort": {
        "name": "request, short form",
        "title": "Request an array, short form",
        "summary": "An object with a `shape` and no `type` is a request for an array.",
        "tags": [{"name": str(Kind.BINARY)}],
        "contentType": JSON,
        "payload": {"type": "object", "required": ["shape"], "not": {"required": ["type"]}},
        "correlationId": CORRELATION,
        "examples": _list_examples({"Six random numbers": {"shape": [2, 3]}}),
    },
}
