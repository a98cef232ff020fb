"""The publishing pipeline of a process: group commit.

A publication is queued and its future returned at once. One flusher takes what waits, commits
each topic's share by one call of the history, settles the futures in order, and feeds the local
hub without waiting for the echo from the channel layer.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass

from realtime.conf import Namespace, Settings
from realtime.core.entries import Body
from realtime.core.errors import Refused, Unavailable
from realtime.core.positions import Position
from realtime.core.topics import Topic
from realtime.history import LONGEST_CARRIED, PUBLICATIONS, Accepted, Batch, History, Item
from realtime.hub import Hub
from realtime.layer import Layer
from realtime.metrics import PUBLICATIONS as COUNTS
from realtime.redis_errors import quote

logger = logging.getLogger("realtime.pipeline")

# Batches that wait to be announced where the history does not announce them itself.
MAX_ANNOUNCEMENTS = 1000
# Topics whose last accepted publication is remembered, so that its loss would be noticed.
MAX_REMEMBERED = 10_000
# Failures are logged this often, in seconds; each line counts those since the last one.
REPORT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where a publication stands; `position` is None where the namespace keeps no history."""

    position: Position | None
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class _Pending:
    topic: Topic
    namespace: Namespace
    item: Item
    future: asyncio.Future[Receipt]


class Pipeline:
    """Commits what this process publishes. Without a hub nobody listens in this process."""

    def __init__(
        self, *, settings: Settings, history: History, layer: Layer, hub: Hub | None
    ) -> None:
        self._settings = settings
        self._history = history
        self._layer = layer
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Pending] = deque()
        self._bytes = 0
        self._flusher: asyncio.Task[None] | None = None
        # The last publication of each topic that was accepted here, newest topic last.
        self._accepted: OrderedDict[Topic, Position] = OrderedDict()
        self._announcements: asyncio.Queue[tuple[Topic, dict[str, object]]] = asyncio.Queue(
            MAX_ANNOUNCEMENTS
        )
        self._announcer: asyncio.Task[None] | None = None
        self._failed = 0  # publications of which the log does not know yet
        self._reports_at = 0.0

    def submit(self, topic: Topic, namespace: Namespace, item: Item) -> asyncio.Future[Receipt]:
        """Queue a publication; the future brings its receipt, or Unavailable."""
        future: asyncio.Future[Receipt] = self._loop.create_future()
        if (
            len(self._queue) >= self._settings.pending_publications
            or self._bytes + len(item.body) > self._settings.pending_bytes
        ):
            future.set_exception(Unavailable("too many publications wait here; try again later"))
            return future
        self._queue.append(_Pending(topic, namespace, item, future))
        self._bytes += len(item.body)
        if self._flusher is None:
            self._flusher = self._loop.create_task(self._flush())
        return future

    async def close(self) -> None:
        """Commit what waits, and stop."""
        if self._flusher is not None:
            await self._flusher
        if self._announcer is not None:
            self._announcer.cancel()

    async def _flush(self) -> None:
        try:
            while self._queue:
                await self._commit(self._take_shares())
                await asyncio.sleep(0)  # let the sockets take this batch before the next one
        finally:
            self._flusher = None

    async def _commit(self, shares: Sequence[Sequence[_Pending]]) -> None:
        kept = [share for share in shares if share[0].namespace.history_size]
        parts = [
            self._answer([share], self._pass_on(share))
            for share in shares
            if not share[0].namespace.history_size
        ]
        if kept:
            parts.append(self._answer(kept, self._keep(kept)))
        if len(parts) == 1:  # as mostly; it needs no task
            await parts[0]
        else:
            # Together: a layer that does not answer holds up the next commit by one deadline.
            await asyncio.gather(*parts)

    async def _answer(
        self, shares: Sequence[Sequence[_Pending]], work: Coroutine[None, None, None]
    ) -> None:
        try:
            await work
        except Exception:
            # A bug of ours must not leave the publishers of this batch without an answer.
            logger.exception("a batch failed")
            for share in shares:
                _refuse(share, Unavailable("the server failed; repeat with the same id"))

    async def _keep(self, shares: Sequence[Sequence[_Pending]]) -> None:
        results = await self._history.append([self._build_batch(share) for share in shares])
        for share, result in zip(shares, results, strict=True):
            self._settle(share, result)

    def _take_shares(self) -> list[list[_Pending]]:
        """What goes into the next commit, by topic."""
        shares: dict[Topic, list[_Pending]] = {}
        count = size = 0
        while self._queue and count < self._settings.batch_publications:
            pending = self._queue[0]
            if count and size + len(pending.item.body) > self._settings.batch_bytes:
                break
            self._queue.popleft()
            count += 1
            size += len(pending.item.body)
            shares.setdefault(pending.topic, []).append(pending)
        self._bytes -= size
        return list(shares.values())

    def _build_batch(self, share: Sequence[_Pending]) -> Batch:
        topic, namespace = share[0].topic, share[0].namespace
        known = self._hub.find_position(topic) if self._hub is not None else None
        known = known or self._accepted.get(topic)
        return Batch(topic, namespace, [pending.item for pending in share], known)

    def _settle(self, share: Sequence[_Pending], result: Accepted | Unavailable) -> None:
        if isinstance(result, Unavailable):
            self._fail(share, result)
            return
        if result.unannounced:
            # Nothing is lost: other processes find it in the history within a second.
            logger.warning(
                "an announcement failed: %s",
                result.unannounced,
                extra={"topic": str(share[0].topic)},
            )
        new: list[Body | None] = []
        first_new = 0
        for index, (pending, offset) in enumerate(zip(share, result.offsets, strict=True)):
            duplicate = index in result.duplicates
            if not duplicate:
                first_new = first_new or offset
                new.append(pending.item.body)
            if not pending.future.done():
                pending.future.set_result(Receipt(Position(result.epoch, offset), duplicate))
        counts = COUNTS.labels
        counts(share[0].topic.namespace, "accepted").inc(len(new))
        if result.duplicates:
            counts(share[0].topic.namespace, "duplicate").inc(len(result.duplicates))
        if not new:
            return
        topic = share[0].topic
        self._remember(topic, Position(result.epoch, first_new + len(new) - 1))
        if self._hub is not None:
            self._hub.deliver(
                topic,
                epoch=result.epoch,
                offset=first_new,
                first=result.first,
                bodies=new,
                link=result.link,
            )
        if self._layer.is_shared and not self._history.announces:
            message = _build_message(
                topic,
                epoch=result.epoch,
                offset=first_new,
                first=result.first,
                bodies=[body if body and len(body) <= LONGEST_CARRIED else None for body in new],
                link=result.link,
            )
            self._announce(topic, message)

    def _fail(self, share: Sequence[_Pending], error: Unavailable) -> None:
        """Tell the publishers; and the log, once a second at most."""
        is_refused = isinstance(error, Refused)
        outcome = "refused" if is_refused else "unconfirmed"
        COUNTS.labels(share[0].topic.namespace, outcome).inc(len(share))
        _refuse(share, error)
        self._failed += len(share)
        if self._loop.time() < self._reports_at:
            return
        self._reports_at = self._loop.time() + REPORT_SECONDS
        logger.error(
            "publications %s: %s",
            "refused" if is_refused else "not confirmed",
            quote(error),
            extra={"topic": str(share[0].topic), "publications": self._failed},
        )
        self._failed = 0

    def _remember(self, topic: Topic, position: Position) -> None:
        self._accepted[topic] = position
        self._accepted.move_to_end(topic)
        if len(self._accepted) > MAX_REMEMBERED:
            self._accepted.popitem(last=False)

    async def _pass_on(self, share: Sequence[_Pending]) -> None:
        """Publish without a history: at most once, to whoever hears it now."""
        topic = share[0].topic
        bodies: list[Body | None] = [pending.item.body for pending in share]
        if self._layer.is_shared:
            try:
                message = _build_message(topic, epoch=None, offset=0, first=0, bodies=bodies)
                await self._layer.send(topic.group, message)
            except Unavailable as error:
                self._fail(share, error)
                return
        elif self._hub is not None:
            self._hub.deliver(topic, epoch=None, offset=0, first=0, bodies=bodies)
        for pending in share:
            if not pending.future.done():
                pending.future.set_result(Receipt(None))

    def _announce(self, topic: Topic, message: dict[str, object]) -> None:
        if self._announcer is None:
            self._announcer = self._loop.create_task(self._announce_forever())
        if self._announcements.full():
            # Nothing is lost: other processes find it in the history within a second.
            logger.warning("an announcement was dropped", extra={"topic": str(topic)})
        else:
            self._announcements.put_nowait((topic, message))

    async def _announce_forever(self) -> None:
        while True:
            topic, message = await self._announcements.get()
            try:
                await self._layer.send(topic.group, message)
            except Unavailable:
                logger.warning("an announcement failed", extra={"topic": str(topic)})
            except Exception:
                # A layer of the project's own choice may raise anything; the next one is sent.
                logger.exception("an announcement failed", extra={"topic": str(topic)})


def _build_message(
    topic: Topic,
    *,
    epoch: str | None,
    offset: int,
    first: int,
    bodies: Sequence[Body | None],
    link: bytes = b"",
) -> dict[str, object]:
    return {
        "type": PUBLICATIONS,
        "topic": str(topic),
        "epoch": epoch,
        "offset": offset,
        "first": first,
        "link": link,
        # A channel layer may copy messages deeply, or know no views.
        "entries": [body if body is None else bytes(body) for body in bodies],
    }


def _refuse(share: Sequence[_Pending], error: Unavailable) -> None:
    for pending in share:
        if not pending.future.done():
            # One exception for each: a shared one would gather every reader's traceback.
            pending.future.set_exception(type(error)(error.detail))
