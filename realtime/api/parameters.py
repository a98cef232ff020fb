"""What requests have in common, as the OpenAPI document says it."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter

from realtime.api.access import DEFAULT_LIMIT, MAX_LIMIT
from realtime.core import windows
from realtime.core.errors import ErrorCode

# Where a permission is needed; elsewhere the namespace's policy may let everybody in.
SIGNED_IN = [{"bearer": list[str]()}]


def _ask(
    name: str, description: str, schema: Mapping[str, Any] | None = None, **options: Any
) -> OpenApiParameter:
    return OpenApiParameter(
        name, {"type": "string", **(schema or {})}, description=description, **options
    )


def _name(name: str, description: str, **schema: str) -> OpenApiParameter:
    return _ask(name, description, schema, location=OpenApiParameter.PATH, required=True)


TOPIC = _name("topic", "`<namespace>:<name>`, such as `broadcast:lobby`.")
SESSION = _name("id", "The session, as the list has it.", format="uuid")

LIMIT = _ask(
    "limit",
    "How many at most.",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
)
SLICE = [
    LIMIT,
    _ask("offset", "How many to pass over.", {"type": "integer", "minimum": 0, "default": 0}),
]
AFTER = _ask(
    "after", "The offset after which to begin.", {"type": "integer", "minimum": 0, "default": 0}
)
EPOCH = _ask(
    "epoch",
    "The epoch of that offset: in another one the answer begins anew, with `complete` false.",
    {"minLength": 1, "maxLength": 64},
)
WINDOW = _ask(
    "window",
    "The n newest samples (`100`), or a time (`60s`, `5m`, `1h`); else the namespace's own.",
)
FIELDS = _ask(
    "fields",
    "More figures, separated by commas.",
    {"type": "array", "items": {"enum": list(windows.FIELDS)}, "uniqueItems": True},
    style="form",
    explode=False,
)
SESSION_FILTERS = [
    _ask("user", "Only those of this user name."),
    _ask("topic", "Only those of this topic."),
    _ask("instance", "Only those of this instance."),
    _ask("address", "Only those from this address."),
]

# Which errors there are.
RIGHTS = [
    ErrorCode.AUTHENTICATION_REQUIRED,
    ErrorCode.INVALID_TOKEN,
    ErrorCode.PERMISSION_DENIED,
]
LISTING = [*RIGHTS, ErrorCode.INVALID_PARAMETER, ErrorCode.TOKEN_IN_QUERY]
ON_A_TOPIC = [ErrorCode.UNKNOWN_TOPIC, ErrorCode.RATE_LIMITED]
READING = [*LISTING, *ON_A_TOPIC]
PUBLISHING = [
    *RIGHTS,
    *ON_A_TOPIC,
    ErrorCode.INVALID_JSON,
    ErrorCode.INVALID_MESSAGE,
    ErrorCode.INVALID_ARRAY,
    ErrorCode.NOT_SUPPORTED,
    ErrorCode.MESSAGE_TOO_BIG,
    ErrorCode.REJECTED,
]

PUBLICATION_EXAMPLES = [
    OpenApiExample(name, {"data": data, **more}, request_only=True)
    for name, data, more in (
        ("Broadcast", {"text": "hello"}, {}),
        ("Broadcast, safe to repeat", {"text": "hello"}, {"id": "order-1"}),
        ("One sample", {"value": 3.2}, {}),
        (
            "Many samples",
            {"values": [3.2, None, 4.1], "timestamps": [1767225600, 1767225601, 1767225602]},
            {},
        ),
    )
]
