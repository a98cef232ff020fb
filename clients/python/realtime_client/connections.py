"""Connections to one topic that are lent out, a bounded number of them.

A semaphore counts the connections that are in use or being opened: whoever holds a permit owns one
connection at most, so that no failure and no cancellation can lose count. Waiting is first come,
first served.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from realtime_client.config import Config
from realtime_client.errors import (
    ConnectionEnded,
    ConnectionLost,
    PoolClosed,
    PoolExhausted,
    RequestRefused,
)
from realtime_client.home import Home
from realtime_client.states import State
from realtime_client.stream import Stream, connect
from realtime_client.tokens import Token

logger = logging.getLogger("realtime_client")


@dataclass(frozen=True, slots=True)
class PoolCounts:
    """`in_use` and `idle` connections, and how many wait for one."""

    in_use: int
    idle: int
    waiting: int


class Connections:
    """The connections of a `Pool`, which explains the options."""

    def __init__(
        self,
        url: str,
        *,
        token: Token = None,
        size: int = 5,
        max_overflow: int = 5,
        acquire_timeout: float = 10.0,
        check_after: float = 30.0,
        check_timeout: float = 5.0,
        subscribe: bool = False,
        config: Config | None = None,
        open_stream: Callable[[], Awaitable[Stream]] | None = None,
    ) -> None:
        if size < 1 or max_overflow < 0:
            raise ValueError("size is 1 or more, max_overflow 0 or more")
        self._config = replace(config or Config(), reconnects=False)
        self._open_stream = open_stream or self._connect
        self._url = url
        self._token = token
        self._subscribe = subscribe
        self._size = size
        self._limit = size + max_overflow
        self._acquire_timeout = acquire_timeout
        self._check_after = check_after
        self._check_timeout = check_timeout
        self._home: Home | None = None  # since it was first used
        self._permits = asyncio.Semaphore(self._limit)
        self._idle: deque[tuple[Stream, float]] = deque()  # and since when, the newest on the right
        self._in_use: set[Stream] = set()
        self._waiting = 0
        self._is_closed = False
        self._not_before = 0.0  # the server told a connection to come back then (loop time)
        self._closing: set[asyncio.Task[None]] = set()
        self._all_back = asyncio.Event()
        self._all_back.set()

    async def __aenter__(self) -> Self:
        self._check_home()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def counts(self) -> PoolCounts:
        """How many connections there are."""
        return PoolCounts(len(self._in_use), len(self._idle), self._waiting)

    # Connections

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Stream]:
        """A connection for the time of the block; errors as `acquire`."""
        stream = await self.acquire()
        try:
            yield stream
        finally:
            self.release(stream)

    async def acquire(self) -> Stream:
        """A connection, to be given back by `release`.

        Raises PoolExhausted where none becomes free in time, PoolClosed, ConnectionEnded where the
        server refuses, and ConnectionLost where it cannot be reached in time.
        """
        self._check_home()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._acquire_timeout
        await self._get_permit(deadline)
        try:
            async with asyncio.timeout_at(deadline):
                stream = await self._find_idle() or await self._open_stream()
        except TimeoutError as error:
            self._permits.release()
            text = f"no connection within {self._acquire_timeout:g} s"
            raise ConnectionLost(1006, text) from error
        except BaseException:
            self._permits.release()
            raise
        if self._is_closed:
            self._permits.release()
            self._drop(stream)
            raise PoolClosed("the pool is closed")
        self._in_use.add(stream)
        self._all_back.clear()
        self._close_spare()  # some may have been kept while this one waited
        return stream

    def release(self, stream: Stream) -> None:
        """Give a connection back; raises ValueError where it is not out."""
        self._check_home()
        if stream not in self._in_use:
            raise ValueError("this connection was given back already, or is of another pool")
        self._in_use.remove(stream)
        is_wanted = self._waiting > 0 or self._count() < self._size
        if is_wanted and stream.state is State.LIVE and not self._is_closed:
            self._idle.append((stream, asyncio.get_running_loop().time()))
        else:
            self._drop(stream)
        self._permits.release()
        if not self._in_use:
            self._all_back.set()

    async def close(self, *, timeout: float = 10.0) -> None:
        """Close all; connections in use have `timeout` seconds to come back before they are cut.

        Whoever waits for one gets PoolClosed. May be called twice.
        """
        self._check_home()
        self._is_closed = True
        # Whoever waits gets this permit, sees that the pool is closed, and passes it on.
        self._permits.release()
        while self._idle:
            self._drop(self._idle.pop()[0])
        try:
            async with asyncio.timeout(timeout):
                await self._all_back.wait()
        except TimeoutError:
            for stream in tuple(self._in_use):
                self._drop(stream)
        await asyncio.gather(*self._closing)

    # How connections come and go

    def _check_home(self) -> None:
        """Raises Misuse in another process, or on another event loop, than it was first used."""
        if self._home is None:
            self._home = Home("pool")
        self._home.check()

    async def _get_permit(self, deadline: float) -> None:
        if self._is_closed:
            raise PoolClosed("the pool is closed")
        has_permit = False
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                has_permit = await self._permits.acquire()
        except TimeoutError as error:
            raise PoolExhausted(
                timeout=self._acquire_timeout,
                in_use=len(self._in_use),
                idle=len(self._idle),
                limit=self._limit,
                waiting=self._waiting - 1,
            ) from error
        finally:
            self._waiting -= 1
            if not has_permit:
                self._close_spare()  # it may have been kept for this one
        if self._is_closed:
            self._permits.release()
            raise PoolClosed("the pool is closed")

    async def _find_idle(self) -> Stream | None:
        """The newest idle connection that works."""
        while self._idle:
            stream, since = self._idle.pop()
            try:
                is_healthy = await self._check(stream, since)
            except BaseException:
                self._drop(stream)
                raise
            if is_healthy:
                return stream
            self._drop(stream)
        return None

    async def _check(self, stream: Stream, since: float) -> bool:
        if stream.state is not State.LIVE:
            return False
        if asyncio.get_running_loop().time() - since >= self._check_after:
            try:
                await stream.ping(timeout=self._check_timeout)
            except (ConnectionLost, ConnectionEnded, RequestRefused, TimeoutError) as error:
                logger.info("an idle connection does not answer: %s", error)
                return False
        return True

    async def _connect(self) -> Stream:
        loop = asyncio.get_running_loop()
        if (wait := self._not_before - loop.time()) > 0:
            await asyncio.sleep(wait)
        stream = connect(
            self._url, token=self._token, subscribe=self._subscribe, config=self._config
        )
        await stream.open()
        return stream

    def _close_spare(self) -> None:
        """Keep no more than the pool's size, unless somebody waits for it."""
        while self._idle and not self._waiting and self._count() > self._size:
            self._drop(self._idle.popleft()[0])

    def _count(self) -> int:
        return len(self._in_use) + len(self._idle)

    def _drop(self, stream: Stream) -> None:
        """Close a connection in the background; note when the server wants to see us again."""
        loop = asyncio.get_running_loop()
        ended = stream.ended
        if ended is not None and ended.retry_after is not None:
            self._not_before = max(self._not_before, loop.time() + ended.retry_after)
        task = loop.create_task(stream.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
