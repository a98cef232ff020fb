"""The whole document."""

from typing import Any

from realtime.api.asyncapi.channels import build_channels, describe_namespaces
from realtime.api.asyncapi.codes import list_close_codes, list_error_codes
from realtime.api.asyncapi.messages import build_messages
from realtime.api.asyncapi.operations import build_operations
from realtime.api.asyncapi.schemas import build_schemas
from realtime.api.asyncapi.security import SECURITY_SCHEMES, refer_to_all
from realtime.conf import Settings
from realtime.core.close_codes import RESERVED_CODE_SHIFT

# The version of the protocol `realtime.v1`; which release runs here is the operator's business.
VERSION = "1.0.0"
DESCRIPTION = """\
Publications, live statistics and NumPy arrays over WebSocket: the protocol `realtime.v1`.

A **topic** is a named stream, such as `broadcast:lobby`. A **session** is one connection to one \
topic. What is published gets an **offset**, which counts 1, 2, 3, … within an **epoch**, one \
unbroken life of the topic. A client that remembers both comes back without missing anything.

Ignore fields and types that you do not know: later versions may add some."""


def build_document(settings: Settings, *, host: str, secure: bool) -> dict[str, Any]:
    """The AsyncAPI document of this server, under the name `host` (with its port, if any)."""
    messages = build_messages()
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Realtime", "version": VERSION, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {
            "this": {
                "host": host,
                "protocol": "wss" if secure else "ws",
                "title": "This server",
                "description": (
                    "Of the three ways to present a token the first that is found counts, even if "
                    "that token is bad. Never put one into the URL. Namespaces that are open to "
                    "`anyone` need none at all."
                ),
                "security": refer_to_all(),
            }
        },
        "channels": build_channels(settings, messages),
        "operations": build_operations(),
        "components": {
            "schemas": build_schemas(),
            "messages": messages,
            "securitySchemes": SECURITY_SCHEMES,
            "correlationIds": {
                "ref": {
                    "location": "$message.payload#/ref",
                    "description": "An answer carries the `ref` of the message it answers.",
                }
            },
        },
        "x-close-codes": list_close_codes(),
        # Where an ASGI server lets an application send none below 3000, they come higher by this.
        "x-close-code-shift": RESERVED_CODE_SHIFT,
        "x-error-codes": list_error_codes(),
        "x-namespaces": describe_namespaces(settings),
        "x-limits": _list_limits(settings),
    }


def _list_limits(settings: Settings) -> dict[str, float]:
    """Sizes in bytes, times in seconds; 0 is no limit."""
    return {
        "max_text_bytes": settings.max_text_bytes,
        "max_binary_bytes": settings.max_binary_bytes,
        "max_frame_bytes": settings.frame_limit,
        "max_request_bytes": settings.max_request_bytes,
        "messages_per_second": settings.messages_per_second,
        "bytes_per_second": settings.bytes_per_second,
        "authentication_timeout": settings.authentication_timeout,
        "chunk_timeout": settings.chunk_timeout,
        "expiry_grace": settings.expiry_grace,
        "ping_interval": settings.ping_interval,
    }
