"""One connection at work: reads, sends, watches that it lives, renews the token."""

import asyncio
import logging
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from realtime_client.clocks import LATE, Clock, sleep
from realtime_client.closes import TokenSource
from realtime_client.config import Config
from realtime_client.errors import (
    ConnectionEnded,
    ConnectionLost,
    ProtocolFault,
    RequestRefused,
)
from realtime_client.inbox import Inbox, Item
from realtime_client.incoming import Incoming
from realtime_client.link import Link
from realtime_client.messages import (
    Ack,
    Binary,
    Hello,
    History,
    Message,
    Pong,
    Presence,
    Refreshed,
    ServerError,
    ServerMessage,
    Subscribed,
)
from realtime_client.positions import Position
from realtime_client.publisher import Publisher
from realtime_client.questions import Questions
from realtime_client.tokens import Tokens

logger = logging.getLogger("realtime_client")

Expected = TypeVar("Expected", Hello, Subscribed)

# To see whether a connection that stood before a sleep stands still (s).
WAKING_PATIENCE = 5.0
# A token is not renewed more often than this (s), however short it lasts.
SHORTEST_RENEWAL = 1.0
REFUSED_TOKEN = "invalid_token"  # noqa: S105 (the code of an error)


class Overrun(ProtocolFault):
    """What was dropped can be taken now: come back for it."""


class Session:
    """A connection from its first message on. `hello` and `subscribed` are there once greeted."""

    hello: Hello
    subscribed: Subscribed | None = None

    def __init__(
        self,
        link: Link,
        *,
        config: Config,
        incoming: Incoming,
        inbox: Inbox,
        publisher: Publisher,
        questions: Questions,
        pulse: asyncio.Event,
    ) -> None:
        self._link = link
        self._config = config
        self._incoming = incoming
        self._inbox = inbox
        self._publisher = publisher
        self._questions = questions
        self._pulse = pulse  # set when something is asked or published
        self._loop = asyncio.get_running_loop()
        self._is_paused = False
        self._dropping = asyncio.Event()
        self._kept: Position | None = None  # after the last message that went into the inbox
        self.is_in_doubt = False  # the computer slept, and the server has not been heard of since
        self.refusal: ServerError | None = None  # what came before a close in the greeting

    async def greet(self, *, subscribes: bool) -> None:
        """Take what a session begins with; raises ConnectionLost or ProtocolFault."""
        self._incoming.begin()
        self.hello = await self._expect(Hello)
        if subscribes:
            self.subscribed = await self._expect(Subscribed)
            self._publisher.learn_epoch(self.subscribed.epoch)

    async def run(self, tokens: Tokens) -> None:
        """Work until the connection is lost; raises ConnectionLost or ProtocolFault."""
        self._kept = self._incoming.tracker.position
        helpers = [
            self._publisher.run(self._link, self.hello),
            self._watch_life(),
            self._come_back_for_dropped(),
        ]
        if tokens.source is TokenSource.CALLABLE and self.hello.expires_at is not None:
            helpers.append(self._renew(tokens, self.hello.expires_at))
        self._questions.connect(self._link)
        try:
            await _race(self._read(), *helpers)
        finally:
            if self._dropping.is_set():
                self._incoming.tracker.position = self._kept

    async def _expect(self, kind: type[Expected]) -> Expected:
        while True:
            message = self._incoming.take(await self._link.receive())
            if isinstance(message, kind):
                return message
            if isinstance(message, ServerError):
                self.refusal = message  # the close code follows
            elif message is not None:
                raise ProtocolFault(f"{type(message).__name__} came before {kind.__name__}")

    async def _read(self) -> None:
        while True:
            raw = await self._link.receive()
            message = self._incoming.take(raw)
            if message is not None:
                self._dispatch(message, len(raw))
            if self._inbox.is_full:
                await self._wait_until_read()

    def _dispatch(self, message: ServerMessage, size: int) -> None:
        if self._incoming.is_surfaced(message):
            self._hand_on(message, message.size if isinstance(message, Binary) else size)
            return
        match message:
            case Ack():
                self._publisher.take_ack(message)
            case ServerError() if self._publisher.take_error(message):
                pass
            case ServerError() | Binary() | Pong() | History() | Presence() | Refreshed():
                self._questions.take(message)
            case _:
                raise ProtocolFault(f"{type(message).__name__} came in the middle of a session")

    def _hand_on(self, message: Message, size: int) -> None:
        """Put a message into the inbox, or drop it to be sent again later.

        A handler that waits for an answer reads nothing meanwhile, so the answer has to be read
        past messages for which there is no room.
        """
        if self._inbox.is_overfull and not self._dropping.is_set():
            logger.info("the inbox is full and an answer awaited: messages will be sent again")
            self._dropping.set()
        if not self._dropping.is_set():
            self._kept = self._incoming.tracker.position
            self._inbox.put(Item(message, size, self._kept))

    async def _come_back_for_dropped(self) -> None:
        await self._dropping.wait()
        await self._inbox.wait_for_room()
        if not self._incoming.tracker.has_history:
            logger.warning("messages of a topic without history were dropped: nobody read them")
        raise Overrun("there is room for the messages that were dropped")

    async def _wait_until_read(self) -> None:
        """Receive nothing more while the inbox is full, but for answers that are awaited."""
        self._is_paused = True
        try:
            while self._inbox.is_full and not (
                self._publisher.is_waiting or self._questions.is_waiting
            ):
                self._pulse.clear()
                await self._pulse.wait()
        finally:
            self._is_paused = False

    async def _watch_life(self) -> None:
        """Ping after a silence, and after a sleep; cut the connection where nothing comes back."""
        config = self._config
        while True:
            self.is_in_doubt = await sleep(config.heartbeat)
            silence = self._loop.time() - self._link.received
            if self.is_in_doubt:
                patience = min(config.pong_timeout, WAKING_PATIENCE)
            elif self._is_paused or silence < config.heartbeat:
                continue
            else:
                patience = config.pong_timeout
            if not await self._is_answered(patience):
                logger.info("no pong within %g s", patience)
                self._link.abort()
                return
            self.is_in_doubt = False

    async def _is_answered(self, patience: float) -> bool:
        """Whether the server answers a ping; a deadline that passed in sleep gets a second one."""
        for _ in range(2):
            asked, clock = self._loop.time(), Clock()
            pong = await self._link.ping()
            try:
                async with asyncio.timeout(patience):
                    await pong
                return True
            except TimeoutError:
                if self._is_paused or self._link.received >= asked:
                    return True
                if clock() - patience <= LATE:
                    return False
                patience = min(patience, WAKING_PATIENCE)
        return False

    async def _renew(self, tokens: Tokens, expires_at: datetime) -> None:
        """Send a new token before each end of the old one."""
        config = self._config
        attempt = 0
        began = self._loop.time()
        while True:
            # The server's time: the clock of this machine may be wrong. Where a computer slept for
            # so long that this is late, the session ends with 4001, and the next has a new token.
            now = self.hello.server_time + timedelta(seconds=self._loop.time() - began)
            left = (expires_at - now).total_seconds()
            margin = min(config.refresh_margin, left / 5)
            # A bit earlier than need be, each client at a time of its own.
            delay = left - margin * (1 + 0.5 * config.chance())
            await asyncio.sleep(max(delay, SHORTEST_RENEWAL))
            try:
                fresh = await tokens.fetch()
                reply = await self._questions.ask(
                    {"type": "refresh", "token": fresh},
                    timeout=config.reply_timeout,
                    repeats=False,
                )
            except ConnectionLost:
                raise
            except ConnectionEnded as error:
                logger.warning("there is no other token, so the session will end: %s", error)
                return
            except (OSError, RequestRefused) as error:
                # Again, until the session ends with 4001; the next asks for a new token then.
                logger.warning("the token could not be renewed: %s", error)
                if isinstance(error, RequestRefused) and error.code == REFUSED_TOKEN:
                    tokens.discard()
                await asyncio.sleep(config.backoff.delay(attempt, config.chance()))
                attempt += 1
                continue
            assert isinstance(reply, Refreshed)
            attempt = 0
            expires_at = reply.expires_at
            logger.debug("token renewed until %s", expires_at)


async def _race(main: Coroutine[Any, Any, None], *helpers: Coroutine[Any, Any, None]) -> None:
    """Run all until the main one fails, or a helper fails otherwise than by a lost connection.

    What a lost connection has brought before its end is in its buffer still: the main one, which
    reads, notices the loss after it.
    """
    task = asyncio.create_task(main)
    waiting = {task, *map(asyncio.create_task, helpers)}
    try:
        while not task.done():
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in done - {task}:
                waiting.discard(each)
                error = each.exception()
                if error is not None and not isinstance(error, ConnectionLost):
                    raise error
        task.result()
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
