"""The three ways to present an access token: section 2 of the protocol."""

from typing import Any

SECURITY_SCHEMES: dict[str, Any] = {
    "header": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "For programs: the header `Authorization: Bearer <access token>`.",
    },
    "subprotocol": {
        "type": "httpApiKey",
        "name": "Sec-WebSocket-Protocol",
        "in": "header",
        "description": (
            "For browsers, which cannot set headers: offer the subprotocols `realtime.v1` and "
            "`realtime.bearer.<access token>`, both, since the second is never selected."
        ),
    },
    "firstMessage": {
        "type": "apiKey",
        "in": "password",
        "description": (
            "For all others: the message `authenticate` with the access token, as the first "
            "one, in time and at most 8 KiB long. Not on `/ws/echo/`."
        ),
    },
}


def refer_to_all() -> list[dict[str, str]]:
    """The list of a server that takes each of them."""
    return [{"$ref": f"#/components/securitySchemes/{name}"} for name in SECURITY_SCHEMES]
