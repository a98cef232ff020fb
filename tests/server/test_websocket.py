"""One connection's events, on their way to the application."""

import asyncio

import pytest

from realtime.core.framing import TEXT
from realtime.server.websocket import WebSocketConnection
from tests.server.raw import build


async def test_no_message_is_lost_when_a_receive_is_cancelled_as_it_comes() -> None:
    connection = WebSocketConnection(None, None, max_size=1000)
    connection._loop = asyncio.get_running_loop()
    connection._is_accepted = True
    receiving = asyncio.create_task(connection.receive())
    await asyncio.sleep(0)
    connection.dataReceived(build(TEXT, b"first") + build(TEXT, b"second"))
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    async with asyncio.timeout(30):
        received = [(await connection.receive())["text"] for _ in range(2)]
    assert received == ["first", "second"]
