"""Runs one connection after the other, until coming back would not help."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator

from realtime_client.clocks import sleep
from realtime_client.closes import (
    SAY_NOTHING,
    Code,
    Verdict,
    judge_close,
    judge_handshake,
    unshift_code,
)
from realtime_client.config import Config
from realtime_client.errors import (
    ConnectionEnded,
    ConnectionLost,
    HandshakeRefused,
    ProtocolFault,
    RetriesExhausted,
    StreamClosed,
)
from realtime_client.inbox import Inbox
from realtime_client.incoming import Incoming
from realtime_client.link import Link
from realtime_client.messages import Hello, Message, ServerError, Subscribed
from realtime_client.positions import Position, Tracker
from realtime_client.publisher import Publisher
from realtime_client.questions import Questions
from realtime_client.session import Overrun, Session
from realtime_client.states import State, StateChange
from realtime_client.tokens import Token, Tokens

logger = logging.getLogger("realtime_client")

_TRANSITIONS = {
    (State.CONNECTING, State.LIVE),
    (State.CONNECTING, State.WAITING),
    (State.LIVE, State.WAITING),
    (State.WAITING, State.CONNECTING),
    *((state, State.CLOSED) for state in State if state is not State.CLOSED),
}


class Supervisor:
    """The life of a stream: its state, its connections, and what outlives each of them."""

    def __init__(
        self,
        build_url: Callable[[Position | None], str],
        *,
        token: Token,
        position: Position | None,
        subscribes: bool,
        on_state: Callable[[StateChange], None] | None,
        config: Config,
        refs: Iterator[int],
    ) -> None:
        self._build_url = build_url
        self._tokens = Tokens(token)
        self._subscribes = subscribes
        self._on_state = on_state
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._pulse = asyncio.Event()
        self._tracker = Tracker(position)
        self._incoming = Incoming(self._tracker)
        self._inbox = Inbox(
            max_count=config.max_incoming,
            max_bytes=config.max_incoming_bytes,
            on_drained=self._pulse.set,
        )
        self.publisher = Publisher(config, next_ref=refs.__next__, on_begin=self._pulse.set)
        self.questions = Questions(next_ref=refs.__next__, on_begin=self._pulse.set)
        self.state = State.CONNECTING
        self.position = position  # after the last message that was read by the application
        self.hello: Hello | None = None
        self.subscribed: Subscribed | None = None
        self.ended: Exception | None = None
        self._first: asyncio.Future[None] = self._loop.create_future()
        self._link: Link | None = None
        self._attempt = 0
        self._has_expired = False  # a 4001 came, and no session has begun since
        self._refusal: ServerError | None = None
        self._task: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, and wait for the first session; raises ConnectionEnded."""
        self._task = self._loop.create_task(self._run())
        self._watch = self._loop.create_task(self.publisher.watch())
        self._task.add_done_callback(self._finish)
        await asyncio.shield(self._first)

    async def receive(self) -> Message:
        """The next message for the application; raises what ended the stream."""
        item = await self._inbox.get()
        self.position = item.position
        return item.message

    async def close(self) -> None:
        """End everything; may be called twice."""
        if self.state is not State.CLOSED:
            self._inbox.clear()
            self._end(StreamClosed())
            if self._link is not None:
                await self._link.close()
        tasks = [task for task in (self._task, self._watch) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # The course of things

    async def _run(self) -> None:
        while True:
            stood = 0.0
            session: Session | None = None
            try:
                session = await self._open()
                began = self._loop.time()
                try:
                    await session.run(self._tokens)
                finally:
                    stood = self._loop.time() - began
            except (ProtocolFault, OSError) as error:  # ours are OSErrors too
                if self.state is State.CLOSED:
                    return
                if isinstance(error, ConnectionEnded) and not isinstance(error, HandshakeRefused):
                    raise  # there is no token to be had
                if stood >= self._config.stable_after:
                    self._attempt = 0
                is_in_doubt = session is not None and session.is_in_doubt
                delay = self._judge(error, is_in_doubt=is_in_doubt)
            finally:
                self._disconnect()
            if await sleep(delay):
                self._attempt = 0  # the computer slept: what was before says nothing
            self._move(StateChange(State.CONNECTING, attempt=self._attempt))

    async def _open(self) -> Session:
        """Connect and greet; raises what a failed attempt may raise."""
        token = await self._tokens.fetch()
        url = self._build_url(self._tracker.position)
        link = self._link = await Link.open(url, token, self._config)
        session = Session(
            link,
            config=self._config,
            incoming=self._incoming,
            inbox=self._inbox,
            publisher=self.publisher,
            questions=self.questions,
            pulse=self._pulse,
        )
        self._refusal = None
        try:
            async with asyncio.timeout(self._config.hello_timeout):
                await session.greet(subscribes=self._subscribes)
        finally:
            self._refusal = session.refusal
        if self.state is State.CLOSED:  # by this program, in the meantime
            raise StreamClosed
        self._has_expired = False
        self.hello, self.subscribed = session.hello, session.subscribed
        if self.position is None or self._tracker.position is None:
            self.position = self._tracker.position
        self._move(StateChange(State.LIVE, attempt=self._attempt))
        if not self._first.done():
            self._first.set_result(None)
        return session

    def _disconnect(self) -> None:
        link, self._link = self._link, None
        if link is not None and self.state is not State.CLOSED:
            link.abort()
        self.publisher.disconnect()
        self.questions.disconnect()

    def _judge(self, error: Exception, *, is_in_doubt: bool) -> float:
        """How long to wait (s) before the next attempt; raises ConnectionEnded for no more.

        `is_in_doubt`: the computer has slept, so that a broken connection is no failure.
        """
        if isinstance(error, Overrun):
            self._move(StateChange(State.WAITING, reason=str(error), delay=0.0))
            return 0.0  # no failure: the reader has caught up
        code, reason, verdict = self._examine(error)
        if verdict.needs_new_token:
            self._tokens.discard()
        if self._refusal is not None:
            reason = f"{reason}: {self._refusal.detail}" if reason else self._refusal.detail
        if verdict.is_final:
            if isinstance(error, HandshakeRefused):
                raise error
            raise ConnectionEnded(code, reason) from error
        has_stood = self._first.done()
        if has_stood and not self._config.reconnects:
            raise ConnectionEnded(code, reason, verdict.delay) from error
        if is_in_doubt and code in SAY_NOTHING:
            delay = self._config.backoff.delay(0, self._config.chance())
            logger.info("the connection did not outlive a sleep; again in %.1f s", delay)
            self._move(StateChange(State.WAITING, code, reason, delay, self._attempt))
            return delay
        most = self._config.max_retries
        if most is not None and self._attempt >= most:
            raise RetriesExhausted(
                code, f"{reason}, after {self._attempt} more attempts"
            ) from error
        jitter = self._config.backoff.delay(self._attempt, self._config.chance())
        delay = jitter if verdict.delay is None else verdict.delay
        if isinstance(error, HandshakeRefused) and verdict.delay is not None:
            delay += jitter  # an HTTP server tells everybody the same
        self._attempt += 1
        logger.info("connection lost (%s %s); again in %.1f s", code, reason, delay)
        self._move(StateChange(State.WAITING, code, reason, delay, self._attempt))
        return delay

    def _examine(self, error: Exception) -> tuple[int | None, str, Verdict]:
        match error:
            case ConnectionLost():
                code = unshift_code(error.code)
                verdict = judge_close(
                    code,
                    error.reason,
                    token=self._tokens.source,
                    expired_before=self._has_expired,
                )
                self._has_expired |= code == Code.TOKEN_EXPIRED
                return code, error.reason, verdict
            case HandshakeRefused():
                return None, error.reason, judge_handshake(error.status, error.header)
            case ssl.SSLCertVerificationError():
                return None, str(error), Verdict(is_final=True)
        return None, str(error) or type(error).__name__, Verdict(is_final=False)

    def _move(self, change: StateChange) -> None:
        if (self.state, change.state) not in _TRANSITIONS:
            raise RuntimeError(f"a stream cannot go from {self.state} to {change.state}")
        self.state = change.state
        if self._on_state is not None:
            self._on_state(change)

    def _finish(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception) and self.state is not State.CLOSED:
            self._end(error)
        elif error is not None:  # a callback failed while the stream was ending
            context = {"message": "the end of a stream failed", "exception": error, "task": task}
            self._loop.call_exception_handler(context)

    def _end(self, error: Exception) -> None:
        self.ended = error
        self.publisher.end(error)
        self.questions.end(error)
        self._inbox.end(error)
        if not self._first.done():
            self._first.set_exception(error)
            self._first.exception()  # retrieved, also where nobody waits any more
        code = error.code if isinstance(error, ConnectionEnded) else None
        reason = error.reason if isinstance(error, ConnectionEnded) else str(error)
        self._move(StateChange(State.CLOSED, code, reason, attempt=self._attempt))
