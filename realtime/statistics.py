"""Live statistics: a view of a stats topic, kept once per process and shared by its sessions.

The view follows the topic like any subscription, so what it says is a pure function of the
retained publications up to an offset, the same on every instance. How often it says something
depends on how long it takes to find out: see `realtime.computing`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import thread_time
from typing import Any, Protocol

from realtime.audience import Audience, Reading
from realtime.computing import LOOP_SECONDS, THREAD_SECONDS, TOPIC_SHARE, Budget, Computing, Scratch
from realtime.conf import Kind, Namespace
from realtime.core.close_codes import CloseCode
from realtime.core.errors import NotSupported, RateLimited, Unavailable
from realtime.core.messages import Gap, encode_message
from realtime.core.positions import Position
from realtime.core.sample_ring import SampleRing
from realtime.core.samples import unpack_samples
from realtime.core.summaries import MESSAGE_SECONDS, QUANTILES, predict_seconds, summarise
from realtime.core.topics import Topic
from realtime.core.windows import Window
from realtime.encoding import LivePublication
from realtime.figures import Fields, Figures, Study
from realtime.frames import frame_text
from realtime.held_topics import HISTORY_LOST, HISTORY_TRIMMED, HeldTopic
from realtime.history import History
from realtime.hub import Hub
from realtime.metrics import SKIPPED_PUBLICATIONS
from realtime.outbox import Outbox
from realtime.subscriptions import EMPTY_PAGE_DELAY, Follower, Start, State, Subscription
from realtime.turns import Turns

# How far a prediction is corrected by what was measured, at most; and how fast.
PACE_LIMITS = (0.25, 8.0)
PACE_WEIGHT = 0.1
# What is known of a retained publication takes so many bytes, and is counted so many at a time.
KEPT_BYTES = 128
KEPT_STEP = 256
# Who asks without a session waits so many seconds for figures that are not due.
READ_PATIENCE = 2.0


class Reader(Protocol):
    """Waits for figures of a window."""

    window: Window
    fields: Fields

    def take(self, figures: Figures) -> None:
        """Here they are."""


class _Once:
    """A reader that wants figures once."""

    def __init__(self, window: Window, fields: Fields) -> None:
        self.window = window
        self.fields = fields
        self.figures: asyncio.Future[Figures] = asyncio.get_running_loop().create_future()

    def take(self, figures: Figures) -> None:
        if not self.figures.done():
            self.figures.set_result(figures)


class StatisticsView(Follower):
    """The samples of a topic that are retained at its cursor."""

    def __init__(self, held: HeldTopic, computing: Computing, *, owner: str) -> None:
        super().__init__(held, cursor=Position(held.position.epoch, 0))
        self.audience = Audience()
        self._computing = computing
        self._loop = asyncio.get_running_loop()
        self._ring = SampleRing()
        self._kept: deque[tuple[int, int]] = deque()  # offset and bytes of each publication
        self._kept_bytes = 0
        self._time = 0.0
        self._figures: Figures | None = None  # at the cursor
        self._loop_seconds = 0.0  # that these have taken
        self._losses = 0
        self._budgets: dict[Window, Budget] = {}
        self._pace = 1.0  # what work takes, as a multiple of what was predicted
        self._waiting: dict[Reader, None] = {}
        self._turns = Turns()
        # What those who read it are closed with when it ends before them.
        self.ending = (CloseCode.INTERNAL_ERROR, "internal error")
        memory = computing.memory
        self._holding = None if memory is None else memory.open(owner, self._let_go)
        self._backfill = self._loop.create_task(self.follow())

    async def ready(self) -> None:
        """Wait until the retained samples have been read; raises Unavailable."""
        await asyncio.shield(self._backfill)

    @property
    def has_failed(self) -> bool:
        """Whether the retained samples could not be read."""
        return self._backfill.done() and self.state is not State.LIVE

    @property
    def is_empty(self) -> bool:
        """Whether no sample is retained."""
        return len(self._ring) == 0

    # Figures

    def find(self, window: Window, fields: Fields) -> Figures | None:
        """The figures at the cursor; None where they take too long, or are not due yet."""
        figures = self._figures
        if figures is None:
            figures = self._figures = self._open_figures()
            self._loop_seconds = 0.0
        if figures.has(window, fields):
            return figures
        if self._loop_seconds + self._predict(window) > LOOP_SECONDS:
            return None
        if self._find_delay(window, self._loop.time()) > 0:
            return None
        self._compute(figures, window)
        return figures

    def wait(self, reader: Reader) -> None:
        """Give it figures as soon as that is due."""
        self._waiting[reader] = None
        self._computing.ask(self)

    def dismiss(self, reader: Reader) -> None:
        """It waits no longer."""
        self._waiting.pop(reader, None)

    async def read(self, window: Window, fields: Fields) -> Figures:
        """The figures of this moment, or of a later one where they are not due yet."""
        figures = self.find(window, fields)
        if figures is None:
            reader = _Once(window, fields)
            self.wait(reader)
            try:
                figures = await reader.figures
            finally:
                self.dismiss(reader)
        return figures

    def forget_windows(self) -> None:
        """Let go of what is known of windows that nobody reads, and that owe nothing."""
        now = self._loop.time()
        self._budgets = {
            window: budget
            for window, budget in self._budgets.items()
            if window in self.audience or not budget.is_full(now)
        }

    def _open_figures(self) -> Figures:
        time = None if self.is_empty else self._time
        return Figures(self.held.topic, offset=self.cursor, time=time)

    def _predict(self, window: Window) -> float:
        count = len(self._ring)
        if window.samples is not None:
            count = min(count, window.samples)
        return self._pace * predict_seconds(count, self.audience.find_quantiles(window))

    def _find_delay(self, window: Window, now: float) -> float:
        budget = self._budgets.get(window)
        if budget is None:
            budget = self._budgets[window] = Budget()
        return self._computing.find_delay(budget, self.audience.find_users(window), now)

    def _compute(self, figures: Figures, window: Window) -> None:
        """Summarise a window here and now."""
        began = thread_time()
        quantiles = self.audience.find_quantiles(window)
        figures.add(window, summarise(self._ring.samples, window, quantiles))
        seconds = thread_time() - began
        self._loop_seconds += seconds
        self._charge(window, seconds, self.audience.find_users(window))

    def _charge(self, window: Window, seconds: float, users: list[str]) -> None:
        views = self.audience.count_views(window)
        spent = seconds + views * MESSAGE_SECONDS
        # Each window has its part of the topic's share, so that a long one slows down no other.
        share = TOPIC_SHARE / max(self.audience.window_count, 1)
        if (budget := self._budgets.get(window)) is not None:
            budget.spend(spent, share=share, now=self._loop.time())
        self._computing.charge(spent, users)
        least, most = PACE_LIMITS
        pace = self._pace * seconds / max(self._predict(window), 1e-9)
        self._pace += PACE_WEIGHT * (min(max(pace, least), most) - self._pace)

    # As a client of Computing

    def find_delay(self, now: float) -> float:
        """Seconds until one of the windows that are waited for is due."""
        windows = {reader.window for reader in self._waiting}
        return min((self._find_delay(window, now) for window in windows), default=0.0)

    def begin(self, scratch: Scratch) -> Callable[[], Study] | None:
        """Compute what is due, the short ones now; the work that is left for a thread."""
        now = self._loop.time()
        figures = self._figures or self._open_figures()
        if self._figures is None:
            self._figures, self._loop_seconds = figures, 0.0
        long: dict[Window, frozenset[str]] = {}
        users: dict[Window, list[str]] = {}
        left = THREAD_SECONDS
        for window in dict.fromkeys(reader.window for reader in self._waiting):
            if self._find_delay(window, now) > 0:
                continue
            seconds = self._predict(window)
            if self._loop_seconds + seconds <= LOOP_SECONDS:
                self._compute(figures, window)
            elif left > 0:
                long[window] = self.audience.find_quantiles(window)
                users[window] = self.audience.find_users(window)
                left -= seconds
        self._hand_out(figures)
        if long:
            losses = self._losses
            return Study(
                self._open_figures(),
                self._ring.samples.copy(into=scratch.samples),
                long,
                users=users,
                is_valid=lambda: self._losses == losses and not self.has_ended,
                scratch=scratch.values,
            ).make
        if self._waiting:
            self._computing.ask(self)
        return None

    def finish(self, study: Study | None) -> None:
        """Take what a thread has made."""
        if study is not None:
            for window, seconds in study.seconds.items():
                self._charge(window, seconds, study.users[window])
            if study.is_valid():
                self._hand_out(study.figures)
        if self._waiting:
            self._computing.ask(self)

    def _hand_out(self, figures: Figures) -> None:
        for reader in tuple(self._waiting):
            if figures.has(reader.window, reader.fields):
                self._waiting.pop(reader, None)
                reader.take(figures)

    # As a follower

    def end(self) -> None:
        super().end()
        self._waiting.clear()
        self._computing.forget(self)
        if self._holding is not None:
            self._holding.hold(0)

    def fail(self) -> None:
        """Those who read it end as well, and a new view takes its place."""
        super().fail()
        if self.held.followers.statistics is self:
            self.held.followers.statistics = None
        for follower in self.held.followers:
            if isinstance(follower, StatisticsSubscription) and follower.view is self:
                follower.fail()

    def _let_go(self, code: CloseCode, reason: str) -> None:
        """The samples of all topics are too many: these go, as soon as nobody is using them."""
        self.ending = (code, reason)
        self._loop.call_soon(self.fail)

    def _count_memory(self) -> None:
        is_ending = self.ending[0] is not CloseCode.INTERNAL_ERROR
        if self._holding is not None and not self.has_ended and not is_ending:
            publications = len(self._kept) // KEPT_STEP * KEPT_STEP
            self._holding.hold(self._ring.nbytes + publications * KEPT_BYTES)

    async def expire(self) -> None:
        """Forget everything if the history has, its time being over; raises Unavailable."""
        page = await self.held.read_anew(after=self.cursor)
        if page.epoch == self.epoch and page.first > page.top == self.cursor:
            self._forget_before(page.first)

    async def _make_room(self, size: int) -> None:
        await self._turns.pause()  # a long history takes many milliseconds

    def _take(self, publication: LivePublication) -> None:
        number, namespace = publication.number, self.held.namespace
        self._ring.append(number, *unpack_samples(publication.entry.data))
        self._kept.append((number, publication.size))
        self._kept_bytes += publication.size
        if number == self.held.position.offset:
            self._forget_before(self.held.first)  # the history's own word, after a whole batch
        # By the history's rule, for each publication of a batch: a message shows what was
        # retained at its offset, however publications were batched.
        while len(self._kept) > 1 and (
            len(self._kept) > namespace.history_size or self._kept_bytes > namespace.history_bytes
        ):
            self._forget_before(self._kept[0][0] + 1)
        self._time = publication.entry.time / 1e6
        self._figures = None
        self._count_memory()

    def _lose(self, *, epoch: str, next: int, reason: str) -> None:
        self._losses += 1
        if epoch == self.epoch and next > self.cursor:
            self._forget_before(next)
            return
        # Another epoch, or offsets that went back.
        self._ring.clear()
        self._kept.clear()
        self._kept_bytes = 0
        self._figures = None
        self._count_memory()

    def _forget_before(self, offset: int) -> None:
        while self._kept and self._kept[0][0] < offset:
            self._kept_bytes -= self._kept.popleft()[1]
        self._ring.evict_before(offset)
        self._figures = None


async def open_view(held: HeldTopic, reading: Reading, computing: Computing) -> StatisticsView:
    """The topic's view, with one more reading; raises InvalidParameter, Unavailable.

    Give the reading back with `close_view()`.
    """
    view = held.followers.statistics
    if not isinstance(view, StatisticsView):
        view = held.followers.statistics = StatisticsView(held, computing, owner=reading.user)
    view.audience.add(reading)
    try:
        await view.ready()
        if view.has_ended:
            raise Unavailable("too many statistics are read here; try again in a moment")
        await view.expire()
    except BaseException:
        close_view(view, reading)
        # Others may wait for it still, unless it failed for all of them.
        is_wanted = len(view.audience) and not view.has_failed
        if view.state is not State.LIVE and held.followers.statistics is view and not is_wanted:
            view.end()
            held.followers.statistics = None
        raise
    return view


def close_view(view: StatisticsView, reading: Reading) -> None:
    """One reading less."""
    view.audience.remove(reading)
    if reading.window not in view.audience:
        view.forget_windows()


async def level(view: StatisticsView, *, epoch: str, offset: int) -> None:
    """Wait until a view has come to a position that was read from the history."""
    while not view.has_ended and epoch == view.epoch and offset > view.cursor:
        view.held.catch_up()
        await asyncio.sleep(EMPTY_PAGE_DELAY)


async def read_statistics(
    hub: Hub,
    computing: Computing,
    history: History,
    namespace: Namespace,
    topic: Topic,
    reading: Reading,
) -> dict[str, Any]:
    """The `stats` message of this moment, without a session.

    Raises NotSupported, InvalidParameter, Unavailable, and RateLimited where the topic's or the
    user's share of the processor is used up.
    """
    if namespace.kind is not Kind.STATS:
        raise NotSupported("only topics of kind stats have statistics")
    page = await history.read(topic, after=0, limit=1)
    if not page.bodies:  # a topic need not be held, nor exist, to say that
        figures = Figures(topic, offset=page.top, time=None)
        figures.add(reading.window, summarise(SampleRing().samples, reading.window, QUANTILES))
        return figures.describe(reading.window, reading.fields)
    held = await hub.hold(topic, namespace)
    try:
        view = await open_view(held, reading, computing)
        try:
            async with asyncio.timeout(READ_PATIENCE):
                await level(view, epoch=page.epoch, offset=page.top)
                figures = await view.read(reading.window, reading.fields)
        except TimeoutError as error:
            raise RateLimited(
                "the statistics that you or others read of this topic take too long to compute; "
                "ask for a shorter window or fewer quantiles, or later"
            ) from error
        finally:
            close_view(view, reading)
    finally:
        held.release()
    return figures.describe(reading.window, reading.fields)


class StatisticsSubscription(Subscription):
    """Pushes a window of the view: at once, then after each publication or interval.

    Where the figures are not due yet, it gets those of a later publication.
    """

    def __init__(
        self,
        held: HeldTopic,
        *,
        outbox: Outbox,
        start: Start,
        interval: float,
        view: StatisticsView,
        reading: Reading,
    ) -> None:
        super().__init__(held, outbox=outbox, start=start, interval=interval)
        self.view = view
        self.window = reading.window
        self.fields = reading.fields
        self._owes_first = False  # what there was when it turned live
        self._is_waiting = False

    async def follow(self) -> None:
        """Send the statistics as they are now: a view is never replayed."""
        self._move(State.CATCHING_UP)
        if self.view.has_ended:  # it failed since it was opened
            self.fail()
            return
        self.held.followers.add(self)
        while not self._is_level():
            # The start was read from the history, and the view may not have come so far yet.
            page = await self.held.read_anew(after=self.view.cursor)
            if page.epoch == self.view.epoch != self.epoch:
                self._skip_to(epoch=page.epoch, next=page.first, reason=HISTORY_LOST)
            else:
                self.held.catch_up()
                await asyncio.sleep(EMPTY_PAGE_DELAY)
        if self.has_ended:
            return
        if not self.view.is_empty:
            self._owes_first = True
        else:
            if self.view.cursor > self._sent:  # all of it has expired
                self._lose(epoch=self.epoch, next=self.view.cursor + 1, reason=HISTORY_TRIMMED)
            self._sent = self.view.cursor
        self.cursor = self.view.cursor
        self._move(State.LIVE)
        self._flush()

    def end(self) -> None:
        super().end()
        self.view.dismiss(self)

    def fail(self) -> None:
        """The session ends as well, and is told what its view ended with."""
        self.end()
        self._outbox.close(*self.view.ending)

    def take(self, figures: Figures) -> None:
        """Called by the view: send them, unless the time for that has passed."""
        self._is_waiting = False
        if not self._is_due:
            return  # whatever made it so asks again
        if self._owes_first:
            skipped = max(figures.offset - self._sent, 0)
        elif figures.offset > self._sent:
            skipped = figures.offset - self._sent - 1
        else:
            self._wait()
            return
        frames = figures.build_frames(self.window, self.fields, skipped=skipped)
        if self._keeps_latest and not self._outbox.has_room(frames.size):
            return  # it, or a newer one, goes when the outbox has drained
        if skipped and not self._owes_first:
            SKIPPED_PUBLICATIONS.labels(self.held.topic.namespace).inc(skipped)
            self._outbox.skipped += skipped
        self._owes_first = False
        self._sent = figures.offset
        self._outbox.put(frames)
        self._begin_pause()
        if self._is_due:
            self._wait()

    @property
    def _is_due(self) -> bool:
        is_behind = self._owes_first or self._sent < self.cursor
        return is_behind and self.state is State.LIVE and self._timer is None

    def _is_level(self) -> bool:
        view = self.view
        return self.has_ended or (self.epoch == view.epoch and self.cursor <= view.cursor)

    def _take(self, publication: LivePublication) -> None:
        self._flush()

    def _flush(self) -> None:
        if self._is_waiting or not self._is_due:
            return
        figures = self.view.find(self.window, self.fields)
        if figures is None:
            self._wait()
        else:
            self.take(figures)

    def _wait(self) -> None:
        self._is_waiting = True
        self.view.wait(self)

    def _lose(self, *, epoch: str, next: int, reason: str) -> None:
        # The view has moved on: what was not sent is part of the gap.
        gap = Gap(
            topic=str(self.held.topic), epoch=epoch, after=self._sent, next=next, reason=reason
        )
        self._outbox.put(frame_text(encode_message(gap)))
        self._sent = next - 1
        self._owes_first = False
