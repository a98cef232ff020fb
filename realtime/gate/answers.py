"""How a gate refuses: with the JSON of the REST API, before Django has seen the request."""

import math
from typing import Any

import msgspec

from realtime.api.errors import STATUS
from realtime.core.errors import ErrorCode


async def answer_refusal(send: Any, code: ErrorCode, detail: str, *, retry_after: float) -> None:
    """Answer an HTTP request, which need not have been read."""
    body = _build_body(code, detail)
    await send(_build_start("http.response.start", code, body, retry_after))
    await send({"type": "http.response.body", "body": body})


async def refuse_handshake(
    scope: Any, receive: Any, send: Any, code: ErrorCode, detail: str, *, retry_after: float
) -> None:
    """Refuse a WebSocket before it is accepted; where the server cannot say why, with 403."""
    await receive()  # websocket.connect
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close"})
        return
    body = _build_body(code, detail)
    await send(_build_start("websocket.http.response.start", code, body, retry_after))
    await send({"type": "websocket.http.response.body", "body": body})


def _build_body(code: ErrorCode, detail: str) -> bytes:
    return msgspec.json.encode({"code": code, "detail": detail})


def _build_start(type: str, code: ErrorCode, body: bytes, retry_after: float) -> dict[str, Any]:
    return {
        "type": type,
        "status": int(STATUS[code]),
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", str(max(1, math.ceil(retry_after))).encode()),
            # There is nothing in it that a page of another origin may not know.
            (b"access-control-allow-origin", b"*"),
            (b"access-control-expose-headers", b"Retry-After"),
        ],
    }
