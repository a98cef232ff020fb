"""A TCP proxy that cuts connections: what lies between a client and the server in real life."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class BreakingProxy:
    """Passes bytes on to `target`, a port on loopback, until it cuts a connection."""

    def __init__(self, target: int, port: int) -> None:
        self.target = target
        self.port = port
        self.cuts = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._flows: list[asyncio.Event] = []

    @property
    def ws(self) -> str:
        """The address to connect to instead of the server's."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """How many connections pass through."""
        return len(self._open)

    def cut(self, count: int | None = None, dice: random.Random | None = None) -> None:
        """Cut so many connections, chosen by chance, or all of them, without a word."""
        writers = sorted(self._open, key=id)
        if count is not None:
            assert dice is not None
            writers = dice.sample(writers, min(count, len(writers)))
        for writer in writers:
            self.cuts += 1
            self._open.discard(writer)
            writer.transport.abort()

    def freeze(self) -> None:
        """From now on nothing passes through the connections that are open, nor does their end."""
        for flow in self._flows:
            flow.clear()
        self._flows.clear()

    async def cut_at_random(self, dice: random.Random, *, every: float) -> None:
        """Cut a connection now and then, in the middle of whatever passes, until cancelled."""
        while True:
            await asyncio.sleep(dice.expovariate(1 / every))
            self.cut(1, dice)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on."""
        self._open.add(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            self._open.discard(writer)
            writer.transport.abort()
            return
        flow = asyncio.Event()
        flow.set()
        self._flows.append(flow)
        ways = [
            asyncio.ensure_future(_pass_on(reader, up_writer, flow)),
            asyncio.ensure_future(_pass_on(up_reader, writer, flow)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open.discard(writer)
            for way in ways:
                way.cancel()
            for each in (writer, up_writer):
                each.transport.abort() if writer.transport.is_closing() else each.close()
            await asyncio.gather(*ways, return_exceptions=True)


@asynccontextmanager
async def breaking_proxy(target: int) -> AsyncIterator[BreakingProxy]:
    """A proxy in front of a port, for the time of the block."""
    proxy = BreakingProxy(target, port=0)
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1024)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        for task in tuple(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: asyncio.Event
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            await flow.wait()
            writer.write(data)
            await writer.drain()
    await flow.wait()
