"""A thin client over the `websockets` library, which is not ours, for end-to-end tests."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

# In seconds. It only keeps a test from hanging.
TIMEOUT = 30.0


class Client:
    """One WebSocket; every wait has a limit, so that a test fails rather than hangs."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, message: str | bytes | dict[str, Any]) -> None:
        """Send text, bytes, or a dict as JSON."""
        await self.connection.send(json.dumps(message) if isinstance(message, dict) else message)

    async def receive(self, timeout: float = TIMEOUT) -> Any:
        """The next message: JSON decoded, bytes as they are."""
        async with asyncio.timeout(timeout):
            message = await self.connection.recv()
        return json.loads(message) if isinstance(message, str) else message

    async def receive_type(self, type: str, timeout: float = TIMEOUT) -> dict[str, Any]:
        """The next JSON message of a type; others before it are passed over."""
        while True:
            message = await self.receive(timeout)
            if isinstance(message, dict) and message["type"] == type:
                return message

    async def receive_array(self) -> tuple[dict[str, Any], np.ndarray]:
        """The next `binary` header, and its chunks as an array."""
        header = await self.receive_type("binary")
        data = b"".join([await self.receive() for _ in range(header["chunks"])])
        assert len(data) == header["bytes"]
        return header, np.load(io.BytesIO(data), allow_pickle=False)

    async def receive_nothing(self, seconds: float = 0.3) -> None:
        """Fail where a message comes within that time."""
        try:
            message = await self.receive(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"unexpected: {message!r}")

    async def wait_closed(self, timeout: float = TIMEOUT) -> tuple[int, list[Any]]:
        """The close code, mapped back where the server had to shift it, and what came before."""
        messages = []
        while True:
            try:
                messages.append(await self.receive(timeout))
            except ConnectionClosed as error:
                code = error.rcvd.code if error.rcvd else 1006
                return (code - 2000 if 3000 <= code < 3100 else code), messages


@asynccontextmanager
async def open_client(url: str, token: str | None = None, **options: Any) -> AsyncIterator[Client]:
    """Connect, with a token in the Authorization header where one is given.

    No pings of the library's own: on a busy machine, a server that is late is not dead.
    """
    if token is not None:
        headers = {"Authorization": f"Bearer {token}", **options.pop("additional_headers", {})}
        options["additional_headers"] = headers
    options = {"open_timeout": TIMEOUT, "ping_interval": None, **options}
    async with connect(url, max_size=None, **options) as connection:
        yield Client(connection)


def save_array(array: np.ndarray) -> bytes:
    """An array as a `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def save_as_julia_does(array: np.ndarray) -> bytes:
    """A `.npy` file as the writers of Julia and Fortran make it: always in Fortran order."""
    file = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": True, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + array.tobytes(order="F")
