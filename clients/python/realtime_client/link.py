"""One WebSocket connection, over the `websockets` library, with its errors translated."""

import asyncio
from collections.abc import Awaitable
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import (
    ConnectionClosed,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)
from websockets.typing import Subprotocol

from realtime_client.closes import Code
from realtime_client.config import Config
from realtime_client.errors import ConnectionEnded, ConnectionLost, HandshakeRefused

SUBPROTOCOL = Subprotocol("realtime.v1")
CLOSE_TIMEOUT = 3.0


class _Connect(connect_websocket):
    """Follows no redirect: it could carry the token to another host."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Link:
    """A connection that stands. `received` is when it last brought something (loop time)."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self.received = self._loop.time()

    @classmethod
    async def open(cls, url: str, token: str | None, config: Config) -> "Link":
        """Connect; raises HandshakeRefused, ConnectionLost, OSError or TimeoutError."""
        headers, subprotocols = dict(config.headers), [SUBPROTOCOL]
        if token is not None and _has_authorization(url, config):
            subprotocols.append(Subprotocol(f"realtime.bearer.{token}"))
        elif token is not None:
            headers["Authorization"] = f"Bearer {token}"
        secure: dict[str, Any] = {} if config.ssl is None else {"ssl": config.ssl}
        try:
            connection = await _Connect(
                url,
                subprotocols=subprotocols,
                compression=None,
                additional_headers=headers,
                proxy=config.proxy,
                open_timeout=config.open_timeout,
                ping_interval=None,  # a pong cannot be seen while nothing is read: see Heartbeat
                close_timeout=CLOSE_TIMEOUT,
                max_size=config.max_message_bytes,
                **secure,
            )
        except InvalidStatus as error:
            response = error.response
            raise HandshakeRefused(
                response.status_code, response.headers.get("Retry-After")
            ) from error
        except InvalidURI as error:
            raise ConnectionEnded(None, str(error)) from error
        except (EOFError, WebSocketException) as error:
            raise ConnectionLost(Code.ABNORMAL, f"no WebSocket there: {error}") from error
        return cls(connection)

    async def receive(self) -> str | bytes:
        """The next message; raises ConnectionLost with the close code."""
        try:
            message = await self._connection.recv()
        except ConnectionClosed as error:
            raise _translate(error) from error
        self.received = self._loop.time()
        return message

    async def send(self, message: str | bytes) -> None:
        """Send, waiting while too much waits in the socket; raises ConnectionLost."""
        try:
            await self._connection.send(message)
        except ConnectionClosed as error:
            raise _translate(error) from error

    async def ping(self) -> Awaitable[float]:
        """Send a WebSocket ping; await the result for the pong. Both raise ConnectionLost."""
        try:
            pong = await self._connection.ping()
        except ConnectionClosed as error:
            raise _translate(error) from error
        return _translated(pong)

    async def close(self) -> None:
        """Close in order, with 1000."""
        await self._connection.close()

    def abort(self) -> None:
        """Cut it, without a word."""
        self._connection.transport.abort()


def _has_authorization(url: str, config: Config) -> bool:
    """Whether the header is taken, by what a proxy asks for: there is one of it in a request."""
    return "@" in urlsplit(url).netloc or any(
        name.lower() == "authorization" for name in config.headers
    )


async def _translated(pong: Awaitable[float]) -> float:
    try:
        return await pong
    except ConnectionClosed as error:
        raise _translate(error) from error


def _translate(error: ConnectionClosed) -> ConnectionLost:
    close = error.rcvd or error.sent
    if close is None:
        return ConnectionLost(Code.ABNORMAL, "the connection broke")
    return ConnectionLost(close.code, close.reason)
