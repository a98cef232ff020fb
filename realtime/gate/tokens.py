"""Addresses that try tokens: after too many bad ones, each gets a short look only.

An address that has shown too many tokens that were no good is asked for a signature before
anything else: what this server has not signed is refused before it costs a thread, a session or
a look at the database. So a good token from behind the same address gets through.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from realtime.core.errors import ErrorCode
from realtime.gate.answers import answer_refusal, refuse_handshake
from realtime.limits.kinds import Limit
from realtime.metrics import LIMITED
from realtime.runtime import get_server_runtime

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

DETAIL = "too many tokens from your address were refused: get a new one, and wait"


class TokenGate:
    """Goes around HTTP and WebSocket alike.

    `has_foreign_token` says of a scope, from its headers alone, whether it brings a token that
    this server has not signed.
    """

    def __init__(self, app: ASGIApp, *, has_foreign_token: Callable[[Any], bool]) -> None:
        self.app = app
        self._has_foreign_token = has_foreign_token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one scope."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        limits = get_server_runtime().limits
        address = scope["client"][0] if scope.get("client") else ""
        wait = limits.find_token_wait(address)
        if wait and self._has_foreign_token(scope):
            LIMITED.labels(Limit.BAD_TOKENS).inc()
            if scope["type"] == "http":
                await answer_refusal(send, ErrorCode.RATE_LIMITED, DETAIL, retry_after=wait)
            else:
                await refuse_handshake(
                    scope, receive, send, ErrorCode.RATE_LIMITED, DETAIL, retry_after=wait
                )
            return
        if scope["type"] == "http" and any(
            name == b"authorization" for name, _ in scope["headers"]
        ):
            send = _note_refusal(send, lambda: limits.note_bad_token(address))
        await self.app(scope, receive, send)


def _note_refusal(send: Any, note: Callable[[], None]) -> Any:
    async def send_noting(message: Any) -> None:
        if message["type"] == "http.response.start" and message["status"] == 401:
            note()
        await send(message)

    return send_noting
