"""One topic as this process holds it: its group, its position, its followers."""

import asyncio
import logging
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from realtime.conf import Namespace
from realtime.core.errors import IllegalTransition, Unavailable
from realtime.core.positions import Position, Sequence
from realtime.core.topics import Topic
from realtime.encoding import LivePublication
from realtime.history import History, Page
from realtime.layer import Layer

logger = logging.getLogger("realtime.hub")

# A jump in the offsets gets this long to close by itself: publishers can overtake each other.
JUMP_PATIENCE = 0.01
# A join that nobody waits for any more is looked at again after this time.
JOIN_CHECK_DELAY = 0.1
# Waits between reads while the history does not answer.
RETRY_DELAY = 0.5
READ_LIMIT = 1000
# Batches that arrive while the group is being joined.
MAX_EARLY = 256

HISTORY_LOST = "history_lost"
HISTORY_TRIMMED = "history_trimmed"


class Follower(Protocol):
    """Something that wants each publication of a topic, in order."""

    def push(self, publication: LivePublication) -> None:
        """The next publication."""

    def lose(self, *, epoch: str, next: int, reason: str) -> None:
        """What lies before offset `next` of `epoch` will not come."""


class State(Enum):
    """The state of a topic's group membership."""

    IDLE = "idle"
    JOINING = "joining"
    READY = "ready"
    LEAVING = "leaving"


_TRANSITIONS = {
    (State.IDLE, State.JOINING),
    (State.JOINING, State.READY),
    (State.JOINING, State.IDLE),
    (State.IDLE, State.LEAVING),  # a join that failed may have got half-way
    (State.READY, State.LEAVING),
    (State.LEAVING, State.IDLE),
}


class HeldTopic:
    """Joins the topic's group with the first holder and leaves it a while after the last."""

    def __init__(
        self,
        topic: Topic,
        namespace: Namespace,
        *,
        layer: Layer,
        history: History,
        leave_delay: float,
        on_left: Callable[["HeldTopic"], None],
    ) -> None:
        self.topic = topic
        self.namespace = namespace
        self.keeps_history = namespace.history_size > 0
        # Insertion order: a view comes before the subscriptions that read it.
        self.followers: dict[Follower, None] = {}
        self.first = 1  # the first retained offset, as last heard
        # The view that the topic's statistics share, once somebody asked for it.
        self.statistics: Follower | None = None
        self._layer = layer
        self._history = history
        self._leave_delay = leave_delay
        self._on_left = on_left
        self._loop = asyncio.get_running_loop()
        self._state = State.IDLE
        self._moving: asyncio.Task[None] | None = None  # the join or leave that is under way
        self._holders = 0
        self._leave_timer: asyncio.TimerHandle | None = None
        self._sequence: Sequence[bytes] = Sequence(epoch="", offset=0)
        self._early: list[tuple[str | None, int, int, list[bytes | None]]] = []
        self._filling: asyncio.Task[None] | None = None
        self._reads: dict[tuple[int, int], asyncio.Task[Page]] = {}

    # Membership

    @property
    def is_ready(self) -> bool:
        return self._state is State.READY

    @property
    def position(self) -> Position:
        """The last publication that the followers were given."""
        return self._sequence.position

    async def hold(self) -> None:
        """Count one more holder and wait until the topic is ready; raises Unavailable."""
        self._holders += 1
        if self._leave_timer is not None:
            self._leave_timer.cancel()
            self._leave_timer = None
        try:
            while not self.is_ready:
                if self._state is State.IDLE:
                    self._move(State.JOINING)
                    self._moving = self._loop.create_task(self._join())
                assert self._moving is not None
                await asyncio.shield(self._moving)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """One holder less; after the last one the group is left with a delay."""
        self._holders -= 1
        if self._holders == 0 and self._leave_timer is None:
            self._leave_timer = self._loop.call_later(self._leave_delay, self._start_leaving)

    async def _join(self) -> None:
        try:
            await self._layer.join(self.topic.group)
            if self.keeps_history:
                (top,) = await self._history.read_tops([self.topic])
            else:
                top = Position(epoch="", offset=0)
        except BaseException:
            self._move(State.IDLE)
            self._early.clear()
            raise
        self._sequence = Sequence(epoch=top.epoch, offset=top.offset)
        self._move(State.READY)
        early, self._early = self._early, []
        for epoch, offset, first, bodies in early:
            self.accept(epoch=epoch, offset=offset, first=first, bodies=bodies)

    def _start_leaving(self) -> None:
        self._leave_timer = None
        if self._holders:
            return
        if self._state is State.JOINING:  # whoever wanted it went away meanwhile
            self._leave_timer = self._loop.call_later(JOIN_CHECK_DELAY, self._start_leaving)
            return
        # Views stay without a holder; what comes before the next join would be missing in them.
        self.followers.clear()
        self.statistics = None
        self._move(State.LEAVING)
        self._moving = self._loop.create_task(self._leave())

    async def _leave(self) -> None:
        if self._filling is not None:
            self._filling.cancel()
        try:
            await self._layer.leave(self.topic.group)
        except Unavailable:
            # The layer has forgotten the group on our side; a stray message is ignored.
            logger.warning("left a group without confirmation", extra={"topic": str(self.topic)})
        self._move(State.IDLE)
        if not self._holders:
            self._on_left(self)

    def _move(self, state: State) -> None:
        if (self._state, state) not in _TRANSITIONS:
            raise IllegalTransition(f"{self.topic}: {self._state} → {state}")
        self._state = state

    # Order

    def accept(
        self, *, epoch: str | None, offset: int, first: int, bodies: list[bytes | None]
    ) -> None:
        """Take publications as they arrive; hand on what is in order."""
        if self._state is State.JOINING:
            if len(self._early) < MAX_EARLY:  # what does not fit is found by the check of tops
                self._early.append((epoch, offset, first, bodies))
            return
        if not self.is_ready:
            return
        if epoch is None:
            self._pass_on(bodies)
        elif epoch != self._sequence.epoch:
            self.catch_up()
        else:
            self.first = max(self.first, first)
            self._hand_on(self._sequence.accept(first=offset, items=bodies))
            if self._sequence.has_jump:
                self.catch_up(delay=0 if None in bodies else JUMP_PATIENCE)

    def catch_up(self, *, delay: float = 0) -> None:
        """Read from the history what is missing, once for everybody."""
        if self._filling is None:
            self._filling = self._loop.create_task(self._fill(delay))
            self._filling.add_done_callback(self._end_filling)

    async def read(self, *, after: int, limit: int = READ_LIMIT) -> Page:
        """A page of the history; those who want the same at the same time share one read."""
        key = (after, limit)
        task = self._reads.get(key)
        if task is None:
            task = self._loop.create_task(self._history.read(self.topic, after=after, limit=limit))
            self._reads[key] = task
            task.add_done_callback(lambda _: self._reads.pop(key))
        return await asyncio.shield(task)

    async def _fill(self, delay: float) -> None:
        await asyncio.sleep(delay)
        if delay and not self._sequence.has_jump:
            return
        while True:
            after, announced = self._sequence.offset, self._sequence.announced
            try:
                page = await self._history.read(self.topic, after=after, limit=READ_LIMIT)
            except Unavailable:
                await asyncio.sleep(RETRY_DELAY)
                continue
            self._apply(page, after=after)
            self._sequence.settle(announced=announced, top=page.top)
            if not self._sequence.has_jump:
                return

    def _apply(self, page: Page, *, after: int) -> None:
        if page.epoch != self._sequence.epoch or page.top < after:
            # Another epoch, or offsets that went back: the past that we knew is gone.
            next = page.first if page.epoch != self._sequence.epoch else page.top + 1
            self._sequence = Sequence(epoch=page.epoch, offset=next - 1)
            self._sequence.announced = max(
                next - 1, page.top
            )  # the page began after the old offset
            self._tell_loss(epoch=page.epoch, next=next, reason=HISTORY_LOST)
        elif page.start > self._sequence.offset + 1:
            self._sequence.skip_to(page.start - 1)
            self._tell_loss(epoch=page.epoch, next=page.start, reason=HISTORY_TRIMMED)
        self.first = page.first
        self._hand_on(self._sequence.accept(first=page.start, items=page.bodies))

    def _end_filling(self, task: asyncio.Task[None]) -> None:
        self._filling = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("filling a jump failed", exc_info=error, extra={"topic": str(self.topic)})

    def _hand_on(self, ready: list[tuple[int, bytes]]) -> None:
        for number, body in ready:
            publication = LivePublication(self.topic, number=number, body=body)
            for follower in tuple(self.followers):
                follower.push(publication)

    def _pass_on(self, bodies: list[bytes | None]) -> None:
        # Without a history the order of arrival is all there is; numbers count locally.
        for body in bodies:
            assert body is not None
            self._sequence.skip_to(self._sequence.offset + 1)
            publication = LivePublication(
                self.topic, number=self._sequence.offset, body=body, has_history=False
            )
            for follower in tuple(self.followers):
                follower.push(publication)

    def _tell_loss(self, *, epoch: str, next: int, reason: str) -> None:
        logger.warning(
            "publications lost", extra={"topic": str(self.topic), "reason": reason, "next": next}
        )
        for follower in tuple(self.followers):
            follower.lose(epoch=epoch, next=next, reason=reason)
