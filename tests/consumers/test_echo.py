"""The echo endpoint, on a real daphne."""

import os

import pytest

from tests.clients import open_client
from tests.servers import Server


@pytest.mark.parametrize(
    "message", ["hello", "", "ünï¢öde 🎉", b"", b"\x00\xff", os.urandom(70_000)]
)
async def test_every_message_comes_back_byte_for_byte(
    server: Server, token: str, message: str | bytes
) -> None:
    async with open_client(f"{server.ws}/ws/echo/", token) as client:
        await client.send(message)
        assert await client.connection.recv() == message


async def test_a_session_without_a_credential_is_closed_at_once(server: Server) -> None:
    async with open_client(f"{server.ws}/ws/echo/") as client:
        assert await client.wait_closed() == (4501, [])
