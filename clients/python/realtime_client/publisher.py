"""Publishes, and waits for the confirmations, across connections."""

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Callable

from realtime_client.clocks import Clock
from realtime_client.config import Config
from realtime_client.errors import MessageTooBig, QueueFull, RequestRefused, UnknownOutcome
from realtime_client.ledger import Ledger, Pending
from realtime_client.link import Link
from realtime_client.messages import Ack, Hello, ServerError

logger = logging.getLogger("realtime_client")

CHECK_SECONDS = 1.0
UNAVAILABLE = "unavailable"


class Publisher:
    """The publications of one stream that are not confirmed, and who waits for them."""

    def __init__(
        self, config: Config, *, next_ref: Callable[[], int], on_begin: Callable[[], None]
    ) -> None:
        self._config = config
        self._next_ref = next_ref
        self._on_begin = on_begin
        self._loop = asyncio.get_running_loop()
        self._clock = Clock()  # servers forget ids also while this computer sleeps
        self._ledger = Ledger(
            max_count=config.max_outgoing,
            max_bytes=config.max_outgoing_bytes,
            lifetime=config.publish_lifetime,
        )
        self._outcomes: dict[int, asyncio.Future[Ack]] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()  # for room, in order
        self._work = asyncio.Event()
        self._ended: Exception | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a confirmation is awaited."""
        return len(self._ledger) > 0

    async def publish(
        self, body: str | bytes, *, id: str | None = None, format: str | None = None
    ) -> Ack:
        """Publish and wait for the ack, through reconnects.

        Waits first where as much waits as may wait. Raises QueueFull, RequestRefused,
        UnknownOutcome, or what ended the stream. Cancelled before it was sent, it is not
        published.
        """
        await self._wait_for_room(len(body))
        if self._ended is not None:
            raise self._ended
        pending = Pending(
            self._next_ref(),
            body,
            id if id is not None else uuid.uuid4().hex,
            has_own_id=id is not None,
            format=format,
        )
        outcome: asyncio.Future[Ack] = self._loop.create_future()
        self._outcomes[pending.ref] = outcome
        self._ledger.add(pending)
        self._work.set()
        self._on_begin()
        try:
            return await outcome
        finally:
            self._outcomes.pop(pending.ref, None)
            self._ledger.settle(pending.ref)
            self._let_in()

    async def run(self, link: Link, hello: Hello) -> None:
        """Send what is to be sent on this connection; raises ConnectionLost."""
        self._give_up()
        while True:
            now = self._clock()
            pending = self._ledger.next_unsent(now)
            if pending is not None:
                await self._send(pending, link, hello)
                continue
            self._work.clear()
            try:
                async with asyncio.timeout(self._ledger.find_wait(now)):
                    await self._work.wait()
            except TimeoutError:
                continue  # one that was put off is due

    async def watch(self) -> None:
        """As time goes on, repeat what has no answer, and give up what is unconfirmed for long."""
        config = self._config
        while True:
            await asyncio.sleep(
                min(CHECK_SECONDS, config.repeat_after / 4, config.publish_lifetime / 4)
            )
            self._give_up()
            now = self._clock()
            for pending in self._ledger.find_silent(now - config.repeat_after):
                logger.info("a publication has no answer yet; again, under its id")
                self._ledger.put_off(pending, now)
                self._work.set()

    def learn_epoch(self, epoch: str | None) -> None:
        """What the server said of the topic: without an epoch it has no history."""
        self._ledger.has_history = epoch is not None

    def take_ack(self, ack: Ack) -> None:
        """A publication is confirmed."""
        self.learn_epoch(ack.epoch)
        pending = self._ledger.settle(ack.ref)
        if pending is None:
            return
        outcome = self._outcomes.get(pending.ref)
        if outcome is not None and not outcome.done():
            outcome.set_result(ack)

    def take_error(self, error: ServerError) -> bool:
        """A message was refused; returns whether it was a publication."""
        pending = self._ledger.find(error.ref)
        if pending is None:
            return False
        if error.code != UNAVAILABLE:
            self._settle(pending, RequestRefused(error.code, error.detail))
        elif self._ledger.can_repeat(pending):
            delay = self._config.backoff.delay(pending.attempts, self._config.chance())
            logger.info("a publication is unavailable; again in %.1f s", delay)
            self._ledger.put_off(pending, self._clock() + delay)
            self._work.set()
        else:
            self._fail(pending, f"{error.detail}, and {_explain(pending)}")
        return True

    def disconnect(self) -> None:
        """The connection is lost."""
        for pending in self._ledger.disconnect():
            self._fail(pending, f"the connection broke, and {_explain(pending)}")

    def end(self, error: Exception) -> None:
        """The stream is over: nothing more is sent."""
        self._ended = error
        for pending in self._ledger:
            if pending.first_sent is None:
                self._settle(pending, error)
            else:
                self._fail(pending, f"the stream ended ({error})")
        self._let_in(all=True)

    async def _send(self, pending: Pending, link: Link, hello: Hello) -> None:
        is_known = hello.user is not None
        try:
            *first, last = pending.build_frames(hello.limits, with_id=is_known)
        except MessageTooBig as error:
            self._settle(pending, error)
            return
        for frame in first:
            await link.send(frame)
        with_id = is_known or pending.has_own_id
        self._ledger.mark_sent(pending, self._clock(), with_id=with_id)
        await link.send(last)

    async def _wait_for_room(self, size: int) -> None:
        """Wait for one's turn in the queue, online or not; raises QueueFull."""
        if self._has_turn(size):
            return
        seconds = self._config.queue_timeout
        if not self._waiting:
            logger.warning(
                "%d publications wait to be confirmed: publish() waits for room, up to %g s",
                *(len(self._ledger), seconds),
            )
        try:
            async with asyncio.timeout(seconds):
                await self._take_turn(size)
        except TimeoutError as error:
            raise QueueFull(
                f"{len(self._ledger)} publications have waited for {seconds:g} s: publish more "
                "slowly, or raise Config.max_outgoing or queue_timeout"
            ) from error

    async def _take_turn(self, size: int) -> None:
        is_first_in_line = False
        while not self._has_turn(size, is_first_in_line=is_first_in_line):
            turn: asyncio.Future[None] = self._loop.create_future()
            if is_first_in_line:
                self._waiting.appendleft(turn)
            else:
                self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._let_in()
                raise
            is_first_in_line = True

    def _has_turn(self, size: int, *, is_first_in_line: bool = False) -> bool:
        """Whether one more may be queued now, or the stream has ended and nothing is."""
        return self._ended is not None or (
            self._ledger.has_room(size) and (is_first_in_line or not self._waiting)
        )

    def _let_in(self, *, all: bool = False) -> None:
        while self._waiting and (all or self._ledger.has_room(0)):
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                if not all:
                    return

    def _give_up(self) -> None:
        for pending in self._ledger.expire(self._clock()):
            self._fail(pending, "not confirmed in time, and its id may be forgotten by now")

    def _fail(self, pending: Pending, why: str) -> None:
        self._settle(pending, UnknownOutcome(pending.id, why))

    def _settle(self, pending: Pending, error: Exception) -> None:
        self._ledger.settle(pending.ref)
        outcome = self._outcomes.get(pending.ref)
        if outcome is not None and not outcome.done():
            outcome.set_exception(error)


def _explain(pending: Pending) -> str:
    """Why it may not be sent again."""
    if not pending.carries_id:
        return "without an id it cannot be repeated"
    return "the topic has no history, so its id has no effect"
