"""One topic as this process holds it: its group, its position, its followers."""

import asyncio
import logging
from collections.abc import Callable

from realtime.conf import Namespace
from realtime.core.entries import Body
from realtime.core.errors import Unavailable
from realtime.core.positions import Position, Sequence, fits, link_batch
from realtime.core.recent import Recent
from realtime.core.topics import Topic
from realtime.encoding import LivePublication
from realtime.followers import Followers
from realtime.history import PAGE_BYTES, History, Page, Top
from realtime.layer import Layer
from realtime.membership import Membership
from realtime.metrics import LOSSES
from realtime.reading import READ_LIMIT, Reader

logger = logging.getLogger("realtime.hub")

# A jump in the offsets gets this long to close by itself: publishers can overtake each other.
JUMP_PATIENCE = 0.01
# Waits between reads while the history does not answer.
RETRY_DELAY = 0.5
# Batches that arrive while the group is being joined.
MAX_EARLY = 256

HISTORY_LOST = "history_lost"
HISTORY_TRIMMED = "history_trimmed"


class HeldTopic(Membership):
    """What the topic's group brings, in order and whole, for everybody here who follows it."""

    def __init__(
        self,
        topic: Topic,
        namespace: Namespace,
        *,
        layer: Layer,
        history: History,
        recent: Recent,
        leave_delay: float,
        on_rest: Callable[["HeldTopic"], None],
        on_left: Callable[["HeldTopic"], None],
    ) -> None:
        super().__init__(topic.group, layer=layer, leave_delay=leave_delay)
        self.topic = topic
        self.namespace = namespace
        self.keeps_history = namespace.history_size > 0
        self.followers = Followers()
        self.first = 1  # the first retained offset, as last heard
        self._history = history
        self._recent = recent
        self._reader = Reader(topic, history=history, on_page=self._look_at)
        self._on_rest = on_rest
        self._on_left = on_left
        self._sequence: Sequence[Body] = Sequence(epoch="", offset=0)
        self._early: list[tuple[str | None, int, int, list[Body | None], bytes]] = []
        self._filling: asyncio.Task[None] | None = None
        self._is_asked = False  # to read once more, while a filling is under way

    @property
    def position(self) -> Position:
        """The last publication that the followers were given."""
        return self._sequence.position

    @property
    def mark(self) -> bytes:
        """The mark of the publication at the position; empty where it is not known."""
        return self._sequence.mark

    @property
    def _is_unsettled(self) -> bool:
        return self._sequence.has_jump or self._sequence.is_broken

    # Membership

    async def _prepare(self) -> None:
        top = Top(epoch="", offset=0)
        if self.keeps_history:
            (top,) = await self._history.read_tops([self.topic])
        self._sequence = Sequence(epoch=top.epoch, offset=top.offset, mark=top.mark)
        self.first = 1

    def _begin(self) -> None:
        early, self._early = self._early, []
        for epoch, offset, first, bodies, link in early:
            self.accept(epoch=epoch, offset=offset, first=first, bodies=bodies, link=link)

    def _fail(self) -> None:
        self._early.clear()

    def _end(self) -> None:
        # Views stay without a holder; what comes before the next join would be missing in them.
        self.followers.clear()
        self._forget_past()
        if self._filling is not None:
            self._filling.cancel()

    def _rest(self) -> None:
        self._on_rest(self)

    def _finish(self) -> None:
        self._on_left(self)

    # Order

    def accept(
        self,
        *,
        epoch: str | None,
        offset: int,
        first: int,
        bodies: list[Body | None],
        link: bytes = b"",
    ) -> None:
        """Take a batch of publications as it arrives; hand on what is in order."""
        if self.is_joining:
            if len(self._early) < MAX_EARLY:  # what does not fit is found by the check of tops
                self._early.append((epoch, offset, first, bodies, link))
            return
        if not self.is_ready:
            return
        if epoch is None:
            self._pass_on(bodies)
        elif epoch != self._sequence.epoch:
            self.catch_up()
        else:
            self.first = max(self.first, first)
            links = link_batch(link, len(bodies))
            self._hand_on(self._sequence.accept(first=offset, items=bodies, links=links))
            if self._sequence.is_broken:
                self.catch_up()
            elif self._sequence.has_jump:
                self.catch_up(delay=0 if None in bodies else JUMP_PATIENCE)

    def catch_up(self, *, delay: float = 0) -> None:
        """Read from the history what is missing, once for everybody."""
        if not self.is_ready:
            return
        if self._filling is None:
            self._filling = self._loop.create_task(self._fill(delay))
            self._filling.add_done_callback(self._end_filling)
        elif not self._is_unsettled:
            self._is_asked = True  # a jump or a break it would see by itself

    def differs_from(self, top: Top) -> bool:
        """Whether a top that was read after a moment does not fit what is here since then."""
        position = self.position
        return (
            top.epoch != position.epoch
            or top.offset != position.offset
            or not fits(top.mark, self.mark)
        )

    def report_rewind(self, *, epoch: str) -> None:
        """Called by whoever saw offsets given twice: that epoch has to end."""
        if epoch == self._sequence.epoch:
            self._sequence.is_broken = True
            self.catch_up()

    async def read(self, *, after: int, epoch: str | None = None) -> Page:
        """What follows an offset, a page of it: from memory, or by one read for all who want
        it; raises Unavailable. Nobody gets a page of an epoch (None: the process's own) that
        ended before the one they know."""
        known = self.position.epoch
        if epoch in (None, known) and (page := self._find_recent(after)):
            return page
        return await self._reader.read(after=after, epoch=epoch or known)

    def open(self, *, epoch: str, number: int, body: Body) -> LivePublication:
        """A publication of such a page; encoded once for all."""
        return self._reader.open(epoch=epoch, number=number, body=body)

    async def read_anew(self, *, after: int) -> Page:
        """The same, asked of the history itself."""
        return await self._history.read(self.topic, after=after, limit=READ_LIMIT, is_held=True)

    def _find_recent(self, after: int) -> Page | None:
        if not self._history.is_remote or self._sequence.is_broken:
            return None
        epoch, top = self.position.epoch, self.position.offset
        entries = self._recent.read(
            self.topic,
            epoch=epoch,
            after=after,
            limit=READ_LIMIT,
            max_bytes=PAGE_BYTES,
            since=self._loop.time() - self.namespace.history_ttl,
        )
        if entries is None:
            return None
        bodies, links = [body for body, _ in entries], [link for _, link in entries]
        first = min(self.first, after + 1)
        return Page(epoch, first, top, after + 1, bodies, links, self.mark)

    def _look_at(self, page: Page) -> None:
        """A page that sessions read: it may say more than is known here."""
        if page.epoch != self._sequence.epoch:
            self.catch_up()
            return
        if page.top > self._sequence.announced:
            self._sequence.announced = page.top
            self.catch_up(delay=JUMP_PATIENCE)
        if page.bodies:
            entries = list(zip(page.bodies, page.links, strict=True))
            self._recent.extend_back(
                self.topic, epoch=page.epoch, first=page.start, entries=entries
            )

    async def _fill(self, delay: float) -> None:
        await asyncio.sleep(delay)
        if delay and not self._is_unsettled and not self._is_asked:
            return
        while True:
            self._is_asked = False
            sequence = self._sequence
            after, mark, announced = sequence.offset, sequence.mark, sequence.announced
            try:
                if sequence.is_broken:
                    logger.error("the history went back", extra={"topic": str(self.topic)})
                    await self._history.renew_epoch(self.topic, lost=sequence.epoch)
                page = await self.read_anew(after=after)
            except Unavailable:
                await asyncio.sleep(RETRY_DELAY)
                continue
            if page.epoch == sequence.epoch:  # first, since taking the page announces its end
                sequence.settle(announced=announced, top=page.top)
            self._apply(page, after=after, mark=mark)
            if not self._is_unsettled and not self._is_asked:
                return

    def _apply(self, page: Page, *, after: int, mark: bytes) -> None:
        sequence = self._sequence
        if page.epoch != sequence.epoch:
            # The past that we knew is gone. The page was cut after an offset of that past: what
            # the new epoch retains before it is read next.
            self._forget_past()
            next = page.first
            sequence = self._sequence = Sequence(epoch=page.epoch, offset=next - 1)
            sequence.announced = max(next - 1, page.top)
            self._tell_loss(epoch=page.epoch, next=next, reason=HISTORY_LOST)
        elif page.top < after or (page.top == after and not fits(page.mark, mark)):
            sequence.is_broken = True
            return
        elif page.start > sequence.offset + 1:
            sequence.skip_to(page.start - 1)
            self._recent.forget(self.topic)  # it would end before the position
            self._tell_loss(epoch=page.epoch, next=page.start, reason=HISTORY_TRIMMED)
        self.first = page.first
        self._hand_on(sequence.accept(first=page.start, items=page.bodies, links=page.links))

    def _forget_past(self) -> None:
        self._recent.forget(self.topic)
        self._reader.forget()

    def _end_filling(self, task: asyncio.Task[None]) -> None:
        self._filling = None
        if not task.cancelled() and (error := task.exception()) is not None:
            # Not at once again, which might fail as well: the check of tops will ask for it.
            logger.error("filling a jump failed", exc_info=error, extra={"topic": str(self.topic)})
        elif self._is_unsettled or self._is_asked:  # since its last look
            self.catch_up()
        self._is_asked = False

    def _hand_on(self, ready: list[tuple[int, Body, bytes]]) -> None:
        if ready and self._history.is_remote:
            self._recent.add(
                self.topic,
                epoch=self._sequence.epoch,
                first=ready[0][0],
                entries=[(body, link) for _, body, link in ready],
                now=self._loop.time(),
            )
        self.followers.push(
            [LivePublication(self.topic, number=number, body=body) for number, body, _ in ready]
        )

    def _pass_on(self, bodies: list[Body | None]) -> None:
        # Without a history the order of arrival is all there is; numbers count locally.
        publications = []
        for body in bodies:
            assert body is not None
            self._sequence.skip_to(self._sequence.offset + 1)
            number = self._sequence.offset
            publications.append(
                LivePublication(self.topic, number=number, body=body, has_history=False)
            )
        self.followers.push(publications)

    def _tell_loss(self, *, epoch: str, next: int, reason: str) -> None:
        logger.warning(
            "publications lost", extra={"topic": str(self.topic), "reason": reason, "next": next}
        )
        LOSSES.labels(self.topic.namespace, reason).inc()
        self.followers.lose(epoch=epoch, next=next, reason=reason)
