"""Python clients behind a proxy that cuts their connections at random, held to account."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from realtime_client import Backoff, Config, Gap, Position, Publication, Stream, connect
from tests.breaking_proxy import breaking_proxy
from tests.servers import Server

CLIENTS = 20
WATCHERS = 4
EVERY = 0.08  # seconds between two cuts
SETTLE_SECONDS = 60.0
# Nobody stays away for longer than a thousand publications, which the server keeps.
CONFIG = Config(backoff=Backoff(base=0.5, cap=2.0))


@dataclass
class Reader:
    """What one stream brought."""

    heard: list[Any] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)
    gaps: int = 0
    start: Position | None = None

    async def read(self, stream: Stream) -> None:
        self.start = stream.position
        async for message in stream:
            if isinstance(message, Publication):
                assert message.offset is not None
                self.heard.append(message.data)
                self.offsets.append(message.offset)
            elif isinstance(message, Gap):
                assert not message.is_new_epoch
                self.gaps += 1
                self.lost.update(range(message.after + 1, message.next))


@dataclass
class Account:
    """What a run came to, over all readers."""

    accepted: int
    missing: int
    twice: int
    unreported: int  # offsets of the short topic that were neither heard nor in a gap, or both
    gaps: int
    lost: int
    cuts: int
    reconnects: int


async def run_chaos(
    server: Server, token: str, *, seconds: float, publications: int, dice: random.Random
) -> Account:
    """20 clients publish and read one topic, all through the proxy, while others watch a topic
    that keeps five publications only, so that they must be told of gaps."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(breaking_proxy(server.port))
        busy, short = f"{proxy.ws}/ws/broadcast/chaos/", f"{proxy.ws}/ws/short/chaos/"
        attempts: Counter[str] = Counter()
        readers = [Reader() for _ in range(CLIENTS)]
        watchers = [Reader() for _ in range(WATCHERS)]

        async def open(address: str, reader: Reader | None = None) -> Stream:
            stream = connect(
                address,
                token=token,
                subscribe=reader is not None,
                config=CONFIG,
                on_state=lambda change: attempts.update([change.state.name]),
            )
            return await stack.enter_async_context(
                stream if reader is None else reading(stream, reader)
            )

        streams = await asyncio.gather(*(open(busy, reader) for reader in readers))
        await asyncio.gather(*(open(short, watcher) for watcher in watchers))
        source = await open(short)
        cutting = asyncio.create_task(proxy.cut_at_random(dice, every=EVERY))
        each = publications // CLIENTS
        await asyncio.gather(
            *(
                publish_steadily(stream, number, each, seconds)
                for number, stream in enumerate(streams)
            ),
            publish_steadily(source, CLIENTS, int(seconds * 100), seconds),
        )
        cutting.cancel()
        await asyncio.gather(cutting, return_exceptions=True)
        accepted = {f"{number}-{step}" for number in range(CLIENTS) for step in range(each)}
        top = (await source.history(limit=1)).top
        async with asyncio.timeout(SETTLE_SECONDS):
            while any(len(set(reader.heard)) < len(accepted) for reader in readers) or any(
                max([*watcher.offsets, *watcher.lost], default=0) < top for watcher in watchers
            ):
                await asyncio.sleep(0.05)
        return Account(
            accepted=len(accepted),
            missing=sum(len(accepted - set(reader.heard)) for reader in readers),
            twice=sum(len(reader.heard) - len(set(reader.heard)) for reader in readers),
            unreported=sum(count_unreported(watcher, top) for watcher in watchers),
            gaps=sum(reader.gaps for reader in [*readers, *watchers]),
            lost=sum(len(watcher.lost) for watcher in watchers),
            cuts=proxy.cuts,
            reconnects=attempts["LIVE"] - len(streams) - len(watchers) - 1,
        )


@asynccontextmanager
async def reading(stream: Stream, reader: Reader) -> AsyncIterator[Stream]:
    """A stream that is read all the time."""
    async with stream:
        task = asyncio.create_task(reader.read(stream))
        yield stream
        await stream.close()
        await task


async def publish_steadily(stream: Stream, number: int, count: int, seconds: float) -> None:
    """Publish so many in that time, whether or not the last ones are confirmed."""
    async with asyncio.TaskGroup() as group:
        for step in range(count):
            group.create_task(stream.publish(f"{number}-{step}"))
            await asyncio.sleep(seconds / count)


def count_unreported(watcher: Reader, top: int) -> int:
    """How many offsets are missing without a gap, or were heard although they were in one."""
    assert watcher.start is not None
    heard = set(watcher.offsets)
    due = set(range(watcher.start.offset + 1, top + 1))
    return len(due - heard - watcher.lost) + len(heard & watcher.lost)
