"""Sessions that note all that they hear, and how and when they end."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.servers import Server

# Below this a server's close code cannot be sent by an application, and is shifted.
SHIFT = 2000
# What is waited for comes, or never: so long that a busy machine makes no difference, in seconds.
PATIENCE = 30.0


class Watcher:
    """One session; `path` is that below `/ws/`."""

    def __init__(self, path: str, connection: ClientConnection) -> None:
        self.path = path
        self.messages: list[Any] = []
        self.code: int | None = None  # None while it is open
        self.opened_at = time.time()  # both in seconds since the epoch
        self.closed_at = 0.0
        self._connection = connection
        self._changed = asyncio.Condition()

    @property
    def offsets(self) -> list[int]:
        """Of the publications, or statistics, that came."""
        return [m["offset"] for m in self.messages if m["type"] in ("publication", "stats")]

    @property
    def last_published(self) -> float:
        """When the last publication that came was accepted, in seconds since the epoch."""
        times = [m["server_time"] for m in self.messages if m["type"] == "publication"]
        return datetime.fromisoformat(times[-1]).timestamp() if times else 0.0

    async def listen(self) -> None:
        """Read until the session ends, or until cancelled."""
        try:
            while True:
                text = await self._connection.recv()
                self.messages.append(
                    {"type": "echo", "text": text} if self.path == "echo/" else json.loads(text)
                )
                await self._tell()
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd else 1006
            self.code = code - SHIFT if 3000 <= code < 3100 else code
            self.closed_at = time.time()
            await self._tell()

    async def send(self, message: dict[str, Any] | str) -> None:
        """Send a message, or text to echo."""
        text = message if isinstance(message, str) else json.dumps(message)
        await self._connection.send(text)

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message that has a `ref`; returns the answer to it."""
        await self.send(message)
        return await self.wait_for(ref=message["ref"])

    async def wait_for(self, **fields: Any) -> dict[str, Any]:
        """The first message with these fields, whether it has come already or not."""

        def find() -> list[dict[str, Any]]:
            return [m for m in self.messages if fields.items() <= m.items()]

        await self._wait(lambda: bool(find()))
        return find()[0]

    async def wait_count(self, count: int) -> None:
        """Wait until so many publications, or statistics, have come."""
        await self._wait(lambda: len(self.offsets) >= count)

    async def wait_closed(self) -> int:
        """The code that the session ends with."""
        await self._wait(lambda: self.code is not None)
        assert self.code is not None
        return self.code

    async def check_alive(self) -> None:
        """Fail where the session has ended, or gets nothing any more."""
        if self.path == "echo/":
            text = f"alive at {time.monotonic()}"
            await self.send(text)
            await self.wait_for(text=text)
        else:
            ref = f"alive at {time.monotonic()}"
            assert (await self.ask({"type": "ping", "ref": ref}))["type"] == "pong"
        assert self.code is None, (self.path, self.code)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait(self, condition: Any) -> None:
        try:
            async with asyncio.timeout(PATIENCE), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            last = self.messages[-3:]
            raise AssertionError(f"{self.path} waits in vain: {self.code} {last}") from None


@asynccontextmanager
async def open_watcher(server: Server, path: str, token: str | None) -> AsyncIterator[Watcher]:
    """A session that listens during the block; it need not have been welcomed yet."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    url = f"{server.ws}/ws/{path}"
    options: dict[str, Any] = {"max_size": None, "open_timeout": PATIENCE, "ping_interval": None}
    async with connect(url, additional_headers=headers, **options) as connection:
        watcher = Watcher(path, connection)
        listening = asyncio.create_task(watcher.listen())
        try:
            yield watcher
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


@asynccontextmanager
async def watch(
    servers: Sequence[Server], paths: Sequence[str], token: str | None
) -> AsyncIterator[list[Watcher]]:
    """A session for each path on each server, all of them begun."""
    async with AsyncExitStack() as stack:
        watchers = [
            await stack.enter_async_context(open_watcher(server, path, token))
            for server in servers
            for path in paths
        ]
        for watcher in watchers:
            if watcher.path == "echo/":
                await watcher.check_alive()
            else:
                publishes = "subscribe=0" in watcher.path
                await watcher.wait_for(type="hello" if publishes else "subscribed")
        yield watchers
