"""A session's interest in a topic: catching up, then live.

Catching up *pulls* pages from the history as the outbox drains and turns live in the loop step
in which its cursor meets the process's position. So replay and live stream need no merge, and a
long replay cannot overrun an outbox.
"""

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum

from realtime.conf import Slow
from realtime.core.close_codes import CloseCode
from realtime.core.errors import IllegalTransition
from realtime.core.messages import Gap, encode_message
from realtime.core.positions import MARK_BYTES, Position, fits
from realtime.encoding import Burst, LivePublication
from realtime.frames import Frames, frame_text
from realtime.held_topics import HISTORY_LOST, HISTORY_TRIMMED, HeldTopic
from realtime.history import Page
from realtime.metrics import RECOVERIES, SKIPPED_PUBLICATIONS
from realtime.outbox import Outbox

# A pause between pages that bring nothing, while the process waits for the history itself.
EMPTY_PAGE_DELAY = 0.05


@dataclass(frozen=True, slots=True)
class Start:
    """Where a subscription begins: its cursor, and how that relates to what the client asked.

    `gap` is the loss that the client has to be told before anything else.
    """

    top: int
    cursor: Position
    recovered: bool | None = None
    gap: Gap | None = None

    @property
    def next(self) -> int:
        """The first offset that will follow."""
        return self.cursor.offset + 1


async def find_start(
    held: HeldTopic, *, recover: Position | None = None, history: int = 0
) -> Start:
    """Where to begin: after `recover`, or with the last `history` publications, or now."""
    now = held.position
    if recover is not None:
        page = await held.read(after=recover.offset, epoch=recover.epoch)
        same = page.epoch == recover.epoch
        is_whole = same and page.first - 1 <= recover.offset <= page.top
        RECOVERIES.labels(held.topic.namespace, str(is_whole).lower()).inc()
        if is_whole:
            return Start(page.top, recover, recovered=True)
        # A client that claims to be ahead is given the live stream, and changes nothing here.
        next = page.top + 1 if same and recover.offset > page.top else page.first
        gap = Gap(
            topic=str(held.topic),
            epoch=page.epoch,
            after=recover.offset,
            next=next,
            reason=HISTORY_TRIMMED if same and recover.offset < page.first else HISTORY_LOST,
        )
        return Start(page.top, Position(page.epoch, next - 1), recovered=False, gap=gap)
    if history:
        page = await held.read(after=max(now.offset - history, 0), epoch=now.epoch)
        if page.epoch == now.epoch:
            return Start(page.top, Position(page.epoch, page.start - 1))
    return Start(now.offset, now)


class State(Enum):
    """A follower's state."""

    NEW = "new"
    CATCHING_UP = "catching up"
    LIVE = "live"
    ENDED = "ended"


_TRANSITIONS = {
    (State.NEW, State.CATCHING_UP),
    (State.CATCHING_UP, State.LIVE),
    (State.NEW, State.ENDED),
    (State.CATCHING_UP, State.ENDED),
    (State.LIVE, State.ENDED),
}


class Follower(ABC):
    """Reads a topic from a cursor on, each publication once and in order."""

    def __init__(self, held: HeldTopic, *, cursor: Position) -> None:
        self.held = held
        self.epoch = cursor.epoch
        self.cursor = cursor.offset  # the last publication that was taken
        self.mark = b""  # its mark, as far as it was read
        self.state = State.NEW

    @property
    def has_ended(self) -> bool:
        """Whether `end()` was called."""
        return self.state is State.ENDED

    async def follow(self) -> None:
        """Read what lies before now, then turn live; raises Unavailable."""
        self._move(State.CATCHING_UP)
        self.held.followers.add(self)
        while not self._is_level():
            if self._is_ahead():  # the process comes here in a moment, and then has what follows
                await asyncio.sleep(EMPTY_PAGE_DELAY)
            after = self._find_next_read()
            page = await self.held.read(after=after, epoch=self.epoch)
            if self._is_rewound(page, after):
                self.held.report_rewind(epoch=self.epoch)
                await asyncio.sleep(EMPTY_PAGE_DELAY)
                continue
            await self._take_page(page)
            if not page.bodies and not self._is_level():
                await asyncio.sleep(EMPTY_PAGE_DELAY)
        if self.state is State.CATCHING_UP:
            self._move(State.LIVE)
            self._turn_live()

    def end(self) -> None:
        """Read no more; safe to call twice."""
        if self.state is not State.ENDED:
            self._move(State.ENDED)
            self.held.followers.discard(self)

    def push(self, publication: LivePublication) -> None:
        """Called by the held topic, in order."""
        if self.state is State.LIVE and publication.number > self.cursor:
            self.cursor = publication.number
            self._take(publication)

    def push_burst(self, burst: Burst) -> None:
        """Called by the held topic for several that came together."""
        for publication in burst.publications:
            self.push(publication)

    def fail(self) -> None:
        """Called by the held topic after one of these raised: nobody may think that nothing came
        any more."""
        self.end()

    def lose(self, *, epoch: str, next: int, reason: str) -> None:
        """Called by the held topic; while catching up, the pages tell the same."""
        if self.state is State.LIVE:
            self._skip_to(epoch=epoch, next=next, reason=reason)

    @abstractmethod
    def _take(self, publication: LivePublication) -> None:
        """Use a publication."""

    @abstractmethod
    def _lose(self, *, epoch: str, next: int, reason: str) -> None:
        """Note that what lies before `next` will not come."""

    def _turn_live(self) -> None:
        """Called once, in the loop step in which the follower is level with the process."""

    async def _make_room(self, size: int) -> None:
        """Wait until `size` more bytes can be taken."""

    def _find_next_read(self) -> int:
        return self.cursor

    def _is_level(self) -> bool:
        # Not ahead either: the process may find that what lies between was lost, or replaced.
        position = self.held.position
        return (
            self.state is State.ENDED
            or not self.held.keeps_history
            or (
                self.epoch == position.epoch
                and self.cursor == position.offset
                and fits(self.mark, self.held.mark)
            )
        )

    def _is_ahead(self) -> bool:
        position = self.held.position
        return self.epoch == position.epoch and self.cursor > position.offset

    def _is_rewound(self, page: Page, after: int) -> bool:
        """Whether the history under the cursor was replaced by another one."""
        if page.epoch != self.epoch:
            return False
        if page.top == after == self.cursor and not fits(self.mark, page.mark):
            return True
        is_next = bool(page.bodies) and page.start == self.cursor + 1
        return page.top < self.cursor or (
            is_next and not fits(self.mark, page.links[0][:MARK_BYTES])
        )

    async def _take_page(self, page: Page) -> None:
        if self.has_ended:
            return
        if page.epoch != self.epoch:
            self._skip_to(epoch=page.epoch, next=page.first, reason=HISTORY_LOST)
            return  # the page was cut after an offset of the old epoch
        if page.first > self.cursor + 1:
            self._skip_to(epoch=page.epoch, next=page.first, reason=HISTORY_TRIMMED)
        for number, (body, link) in enumerate(
            zip(page.bodies, page.links, strict=True), page.start
        ):
            await self._make_room(len(body))
            if self.has_ended:
                return
            if number > self.cursor:
                self.cursor, self.mark = number, link[MARK_BYTES:]
                self._take(self.held.open(epoch=page.epoch, number=number, body=body))

    def _skip_to(self, *, epoch: str, next: int, reason: str) -> None:
        self._lose(epoch=epoch, next=next, reason=reason)
        self.epoch, self.cursor, self.mark = epoch, next - 1, b""

    def _move(self, state: State) -> None:
        if (self.state, state) not in _TRANSITIONS:
            raise IllegalTransition(f"{self.held.topic}: {self.state} → {state}")
        self.state = state


class Subscription(Follower):
    """Hands publications to a session's outbox, all of them or the newest of each while.

    With an `interval` (seconds) at most one goes out in that time, the newest, and the last one
    always. Where the namespace's policy for slow sessions is `latest`, the newest waits until a
    full outbox has drained. What was passed over is counted in the next one's `skipped`.
    """

    def __init__(
        self, held: HeldTopic, *, outbox: Outbox, start: Start, interval: float = 0
    ) -> None:
        super().__init__(held, cursor=start.cursor)
        self._sent = start.cursor.offset  # the last publication that the client knows about
        self._outbox = outbox
        self._interval = interval
        self._keeps_latest = held.namespace.slow is Slow.LATEST
        self._newest: LivePublication | None = None
        self._timer: asyncio.TimerHandle | None = None
        outbox.on_empty = self._flush

    def fail(self) -> None:
        """The session ends as well: its client comes back and recovers what it missed."""
        super().fail()
        self._outbox.close(CloseCode.INTERNAL_ERROR, "internal error")

    def end(self) -> None:
        super().end()
        self._newest = None
        if self._timer is not None:
            self._timer.cancel()

    def push_burst(self, burst: Burst) -> None:
        if (
            self.state is not State.LIVE
            or not self._sent == self.cursor == burst.first - 1
            or self._interval
            or (self._keeps_latest and not self._outbox.has_room(burst.frames.size))
        ):
            super().push_burst(burst)
            return
        self.cursor = self._sent = burst.last
        self._outbox.put(burst.frames)

    def _take(self, publication: LivePublication) -> None:
        self._newest = publication
        if self._timer is None and not (self._interval and self.state is State.CATCHING_UP):
            self._send_newest()

    def _send_newest(self) -> None:
        publication = self._newest
        assert publication is not None
        skipped = publication.number - self._sent - 1
        frames = self._build_frames(publication, skipped)
        if self._keeps_latest and not self._outbox.has_room(frames.size):
            return  # it, or a newer one, goes when the outbox has drained
        if skipped:
            SKIPPED_PUBLICATIONS.labels(self.held.topic.namespace).inc(skipped)
            self._outbox.skipped += skipped
        self._newest = None
        self._sent = publication.number
        self._outbox.put(frames)
        self._begin_pause()

    def _build_frames(self, publication: LivePublication, skipped: int) -> Frames:
        return publication.build_frames(skipped=skipped) if skipped else publication.frames

    def _lose(self, *, epoch: str, next: int, reason: str) -> None:
        if self._newest is not None:
            self._send_newest()
        gap = Gap(
            topic=str(self.held.topic), epoch=epoch, after=self._sent, next=next, reason=reason
        )
        self._outbox.put(frame_text(encode_message(gap)))
        self._newest = None
        self._sent = next - 1

    def _turn_live(self) -> None:
        self._flush()

    def _begin_pause(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._interval:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._end_pause)

    def _end_pause(self) -> None:
        self._timer = None
        self._flush()

    def _flush(self) -> None:
        if self._newest is not None and self.state is State.LIVE and self._timer is None:
            self._send_newest()

    async def _make_room(self, size: int) -> None:
        # The JSON around a publication is well under this.
        if not self._outbox.has_room(size + 1024):
            await self._outbox.drained()

    def _find_next_read(self) -> int:
        # With an interval only the newest counts; what lies before it is skipped, not read.
        return max(self.cursor, self.held.position.offset - 1) if self._interval else self.cursor
