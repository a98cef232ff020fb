"""Live statistics: a view of a stats topic, kept once per process and shared by its sessions.

The view follows the topic like any subscription, so what it says is a pure function of the
retained publications up to its cursor, the same on every instance.
"""

import asyncio
from collections import Counter, deque

from realtime.core.errors import InvalidParameter
from realtime.core.messages import encode_message
from realtime.core.positions import Position
from realtime.core.samples import unpack_samples
from realtime.core.windows import MAX_WINDOWS, SampleRing, Window
from realtime.encoding import LivePublication
from realtime.frames import Frames, frame_text
from realtime.held_topics import HISTORY_LOST, HISTORY_TRIMMED, HeldTopic
from realtime.outbox import Outbox
from realtime.snapshots import describe_statistics
from realtime.subscriptions import EMPTY_PAGE_DELAY, Follower, Start, State, Subscription


class StatisticsView(Follower):
    """The samples of a topic that are retained at its cursor."""

    def __init__(self, held: HeldTopic) -> None:
        super().__init__(held, cursor=Position(held.position.epoch, 0))
        self.windows: Counter[Window] = Counter()
        self._ring = SampleRing()
        self._kept: deque[tuple[int, int]] = deque()  # offset and bytes of each publication
        self._kept_bytes = 0
        self._time = 0.0
        self._frames: dict[tuple[Window, tuple[str, ...]], Frames] = {}
        self._backfill = asyncio.get_running_loop().create_task(self.follow())

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

    def build_frames(self, window: Window, fields: tuple[str, ...], *, skipped: int = 0) -> Frames:
        """The `stats` message at the cursor; shared by those who ask for the same."""
        frames = self._frames.get((window, fields)) if not skipped else None
        if frames is None:
            message = describe_statistics(
                self._ring,
                self.held.topic,
                offset=self.cursor,
                window=window,
                fields=fields,
                time=self._time,
            )
            if skipped:
                return frame_text(encode_message({**message, "skipped": skipped}))
            frames = self._frames[window, fields] = frame_text(encode_message(message))
        return frames

    def fail(self) -> None:
        """Those who read it end as well, and a new view takes its place."""
        super().fail()
        if self.held.followers.statistics is self:
            self.held.followers.statistics = None
        for follower in self.held.followers:
            if isinstance(follower, StatisticsSubscription) and follower.view is self:
                follower.fail()

    async def expire(self) -> None:
        """Forget everything if the history has, its time being over; raises Unavailable."""
        page = await self.held.read_anew(after=self.cursor)
        if page.epoch == self.epoch and page.first > page.top == self.cursor:
            self._forget_before(page.first)

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
        self._frames.clear()

    def _lose(self, *, epoch: str, next: int, reason: str) -> None:
        if epoch == self.epoch and next > self.cursor:
            self._forget_before(next)
            return
        # Another epoch, or offsets that went back.
        self._ring.clear()
        self._kept.clear()
        self._kept_bytes = 0
        self._frames.clear()

    def _forget_before(self, offset: int) -> None:
        while self._kept and self._kept[0][0] < offset:
            self._kept_bytes -= self._kept.popleft()[1]
        self._ring.evict_before(offset)
        self._frames.clear()


async def open_view(held: HeldTopic, window: Window) -> StatisticsView:
    """The topic's view, with one more session on a window; raises InvalidParameter, Unavailable.

    Give the window back with `close_view()`.
    """
    view = held.followers.statistics
    if not isinstance(view, StatisticsView):
        view = held.followers.statistics = StatisticsView(held)
    if window not in view.windows and len(view.windows) >= MAX_WINDOWS:
        raise InvalidParameter(
            f"window: {MAX_WINDOWS} different windows are in use on this topic; take one of "
            + ", ".join(sorted(used.text for used in view.windows))
        )
    view.windows[window] += 1
    try:
        await view.ready()
        await view.expire()
    except BaseException:
        close_view(view, window)
        # Others may wait for it still, unless it failed for all of them.
        is_wanted = view.windows and not view.has_failed
        if view.state is not State.LIVE and held.followers.statistics is view and not is_wanted:
            view.end()
            held.followers.statistics = None
        raise
    return view


def close_view(view: StatisticsView, window: Window) -> None:
    """One session less on a window."""
    view.windows[window] -= 1
    if view.windows[window] <= 0:
        del view.windows[window]


class StatisticsSubscription(Subscription):
    """Pushes a window of the view: at once, then after each publication or interval."""

    def __init__(
        self,
        held: HeldTopic,
        *,
        outbox: Outbox,
        start: Start,
        interval: float,
        view: StatisticsView,
        window: Window,
        fields: tuple[str, ...],
    ) -> None:
        super().__init__(held, outbox=outbox, start=start, interval=interval)
        self.view = view
        self._window = window
        self._fields = fields

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
            skipped = max(self.view.cursor - self._sent, 0)
            self._outbox.put(self.view.build_frames(self._window, self._fields, skipped=skipped))
            self._begin_pause()
        elif self.view.cursor > self._sent:  # all of it has expired
            self._lose(epoch=self.epoch, next=self.view.cursor + 1, reason=HISTORY_TRIMMED)
        self.cursor = self._sent = self.view.cursor
        self._move(State.LIVE)

    def _is_level(self) -> bool:
        view = self.view
        return self.has_ended or (self.epoch == view.epoch and self.cursor <= view.cursor)

    def _lose(self, *, epoch: str, next: int, reason: str) -> None:
        self._newest = None  # the view has moved on: what waited is part of the gap
        super()._lose(epoch=epoch, next=next, reason=reason)

    def _build_frames(self, publication: LivePublication, skipped: int) -> Frames:
        return self.view.build_frames(self._window, self._fields, skipped=skipped)
