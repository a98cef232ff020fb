"""The two kinds of endpoints, and what a handshake with them may carry: section 1."""

from typing import Any

from realtime.conf import Kind, Namespace, Policy, Settings
from realtime.core.windows import FIELDS

ALL = (Kind.BROADCAST, Kind.STATS, Kind.BINARY)
# Up to 15 digits.
_INTEGER = "^[0-9]{1,15}$"


def build_channels(settings: Settings, messages: dict[str, Any]) -> dict[str, Any]:
    """The channels `echo` and `topic`; `messages` are all those of the document, by name."""
    references = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    return {
        "topic": {
            "address": "/ws/{namespace}/{name}/",
            "title": "A topic",
            "summary": "One session with the topic `namespace:name`.",
            "description": (
                "The namespace decides the kind of the topic, and so what it carries. A topic "
                "needs no setting up. The final slash belongs to the address."
            ),
            "parameters": {
                "namespace": {
                    "enum": sorted(settings.namespaces),
                    "description": "A namespace of this server.",
                },
                "name": {
                    "description": (
                        "1 to 64 of the ASCII letters, digits, `_`, `.`, `-`. A name that is "
                        "`user.<key>` is for the user with that primary key alone."
                    ),
                    "examples": ["lobby"],
                },
            },
            "messages": {
                name: reference
                for name, reference in references.items()
                if not name.startswith("Echo")
            },
            "bindings": {"ws": _build_binding(PARAMETERS)},
        },
        "echo": {
            "address": "/ws/echo/",
            "title": "Echo",
            "summary": "For trying a connection: each message comes back unchanged.",
            "description": (
                "No other message applies here, but for the `error` before a query is refused. "
                "Without a credential in the handshake it closes with 4501 at once."
            ),
            "messages": {
                name: references[name] for name in ("EchoText", "EchoBytes", "ErrorMessage")
            },
            "bindings": {"ws": _build_binding({})},
        },
    }


def describe_namespaces(settings: Settings) -> dict[str, Any]:
    """What a client may want to know of each namespace; times in seconds, sizes in bytes."""
    return {name: _describe(options) for name, options in sorted(settings.namespaces.items())}


def _describe(options: Namespace) -> dict[str, Any]:
    described: dict[str, Any] = {
        "kind": options.kind,
        "subscribe": _name_policy(options.subscribe),
        "publish": _name_policy(options.publish),
        "presence": options.presence,
        "history_size": options.history_size,
        "history_bytes": options.history_bytes,
        "history_ttl": options.history_ttl,
    }
    if options.kind is Kind.BINARY:
        described["format"] = options.format
    if options.kind is Kind.STATS:
        described["window"] = options.window
    return described


def _name_policy(policy: str) -> str:
    """The policy, if it is a word for everyone; which code decides is nobody's business."""
    return policy if policy in list(Policy) else "a rule of this server"


def _parameter(meaning: str, *kinds: Kind, **schema: Any) -> dict[str, Any]:
    described = {"type": "string", "description": meaning, **schema}
    return {**described, "x-kinds": [str(kind) for kind in kinds]}


PARAMETERS = {
    "epoch": _parameter(
        "With `offset`: go on after this position.",
        *ALL,
        minLength=1,
        maxLength=64,
        examples=["7a3c3221a676"],
    ),
    "offset": _parameter(
        "With `epoch`: the offset that you have. 0 asks for all of that epoch.",
        *ALL,
        pattern=_INTEGER,
        examples=["1"],
    ),
    "history": _parameter(
        "Begin with so many of the latest publications; has no effect beside a position.",
        Kind.BROADCAST,
        Kind.BINARY,
        pattern=_INTEGER,
        default="0",
        examples=["10"],
    ),
    "subscribe": _parameter(
        "0: publish without receiving. Excludes `epoch`, `offset` and `history`.",
        *ALL,
        enum=["0", "1"],
        default="1",
        examples=["0"],
    ),
    "window": _parameter(
        "What statistics are over: a count such as `100`, or a time such as `0.5s`, `5m`, `1h`. "
        "If absent, the namespace's own.",
        Kind.STATS,
        pattern=r"^[0-9]{1,9}((\.[0-9]{1,9})?[smh])?$",
        examples=["60s"],
    ),
    "fields": _parameter(
        f"More figures, separated by commas: {', '.join(FIELDS)}.",
        Kind.STATS,
        pattern=f"^(({'|'.join(FIELDS)})(,({'|'.join(FIELDS)}))*)?$",
        default="",
        examples=["median,p95"],
    ),
    "interval": _parameter(
        "At most one push in so many seconds, up to 3600; the newest is sent. 0: a push for each.",
        Kind.STATS,
        Kind.BINARY,
        pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?$",
        default="0",
        examples=["0.5"],
    ),
}
_HEADERS = {
    "Authorization": {
        "type": "string",
        "description": "`Bearer <access token>`, for programs. Other schemes are no credential.",
    },
    "Sec-WebSocket-Protocol": {
        "type": "string",
        "description": (
            "`realtime.v1`, which is then selected; from a browser beside it "
            "`realtime.bearer.<access token>`, which never is."
        ),
    },
    "Origin": {
        "type": "string",
        "description": (
            "Browsers send it. It has to be the server's own host, or be on its list; else the "
            "handshake ends with HTTP 403."
        ),
    },
}


def _build_binding(parameters: dict[str, Any]) -> dict[str, Any]:
    query: dict[str, Any] = {
        "type": "object",
        "properties": parameters,
        "additionalProperties": False,
    }
    if parameters:
        query["dependencies"] = {"epoch": ["offset"], "offset": ["epoch"]}
    return {
        "method": "GET",
        "query": query,
        "headers": {"type": "object", "properties": _HEADERS},
        "bindingVersion": "0.1.0",
    }
