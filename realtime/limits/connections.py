"""How many connections a user and an address have: here, or on all instances together.

A *subject* is whose connections are counted. Redis is asked when a connection comes, and told
what has gone; this process's own counts are what it is told, as they are, so that a call which
failed half-way or was lost leaves nothing behind that the next one would not put right.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Sequence

from realtime.conf import Settings
from realtime.core.errors import Unavailable
from realtime.limits.redis import Claim, RedisCounts
from realtime.redis_errors import quote

logger = logging.getLogger("realtime.limits")

# Connections in one call, and counts in one call.
BATCH_CONNECTIONS = 256
BATCH_COUNTS = 1000
# What has gone is told with the next connection that comes, or after this time.
RELEASE_DELAY = 0.05
# The lease is renewed so many times in its length.
RENEWALS = 3
RETRY_DELAY = 1.0


def open_connections(settings: Settings, *, instance: str) -> "Connections":
    """Counted with all instances where the settings name a Redis, else in this process."""
    if settings.redis_url:
        return SharedConnections(settings, store=RedisCounts(settings, instance=instance))
    return Connections()


class Connections:
    """Counts the connections of this process. Its methods stand for those of all instances."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    async def admit(self, claims: Sequence[Claim]) -> str | None:
        """Count a connection for these subjects, each with the most that it may have.

        Returns the subject that has so many already, and counts nothing then; else None.
        """
        return self._admit_here(claims)

    def release(self, subjects: Sequence[str]) -> None:
        """Count a connection that was admitted for these subjects no longer."""
        for subject in subjects:
            self.counts[subject] -= 1
            if not self.counts[subject]:
                del self.counts[subject]

    async def share_forever(self) -> None:
        """Exchange counts with other instances, until cancelled."""

    async def close(self) -> None:
        """Take this instance's counts back, and let go of what is open."""

    def _admit_here(self, claims: Sequence[Claim]) -> str | None:
        for subject, most in claims:
            if self.counts[subject] >= most:
                return subject
        self._count(claims)
        return None

    def _count(self, claims: Sequence[Claim]) -> None:
        for subject, _ in claims:
            self.counts[subject] += 1


class _Ask:
    """A connection that waits to be admitted."""

    __slots__ = ("claims", "is_admitted", "over")

    def __init__(self, claims: Sequence[Claim], over: "asyncio.Future[str | None]") -> None:
        self.claims = claims
        self.over = over  # the answer, as of `admit`
        self.is_admitted = False

    def answer(self, over: str | None) -> None:
        self.is_admitted = over is None
        self.over.set_result(over)


class SharedConnections(Connections):
    """Counts with all instances. While Redis is away, this process decides by its own counts.

    One call is under way at a time; what comes meanwhile goes with the next one.
    """

    def __init__(self, settings: Settings, *, store: RedisCounts) -> None:
        super().__init__()
        self._store = store
        self._timeout = settings.history_timeout
        self._renewal_delay = settings.lease_seconds / RENEWALS
        self._loop = asyncio.get_running_loop()
        self._asks: deque[_Ask] = deque()
        self._changed: set[str] = set()  # subjects whose count the store does not have
        self._is_known = False  # whether the store has all counts but those
        self._is_away = False
        self._has_work = asyncio.Event()
        self._release_timer: asyncio.TimerHandle | None = None

    async def admit(self, claims: Sequence[Claim]) -> str | None:
        if self._is_away or not claims:
            return self._admit_here(claims)
        ask = _Ask(claims, self._loop.create_future())
        self._asks.append(ask)
        self._has_work.set()
        try:
            async with asyncio.timeout(self._timeout):
                return await ask.over
        except TimeoutError:
            self._withdraw(ask)
            return self._admit_here(claims)
        except asyncio.CancelledError:
            self._withdraw(ask)
            raise

    def release(self, subjects: Sequence[str]) -> None:
        super().release(subjects)
        self._note_changed(subjects)
        if self._changed and self._release_timer is None:
            self._release_timer = self._loop.call_later(RELEASE_DELAY, self._tell)

    async def share_forever(self) -> None:
        while True:
            try:
                await self.share()
            except Unavailable as error:
                self._fall_back(error)
                await asyncio.sleep(RETRY_DELAY)
                continue
            if self._is_away:
                self._is_away = False
                logger.info("connections are counted on all instances together again")
            try:
                async with asyncio.timeout(self._renewal_delay):
                    await self._has_work.wait()
            except TimeoutError:
                pass  # nothing to tell, but the lease to renew

    async def share(self) -> None:
        """Tell what has changed, ask for those who wait, renew the lease; raises Unavailable."""
        while True:
            self._has_work.clear()
            is_anew = not self._is_known
            if is_anew:
                self._is_known = True
                self._changed = set(self.counts)
            counts = self._take_changed()
            # A subject's own count has to be there before another one is asked for.
            asks = [] if self._changed else self._take_asks()
            try:
                overs = await self._store.count(
                    counts, [ask.claims for ask in asks], is_anew=is_anew
                )
            except BaseException:
                self._is_known = False
                self._asks.extendleft(reversed(asks))
                raise
            if overs is None:
                logger.warning("Redis has lost the counts of connections: writing them anew")
                self._is_known = False
                self._asks.extendleft(reversed(asks))
                continue
            for ask, over in zip(asks, overs, strict=True):
                self._answer(ask, over)
            if not (self._changed or self._asks):
                return

    async def close(self) -> None:
        if self._release_timer is not None:
            self._release_timer.cancel()
        try:
            await self._store.end()
        except Unavailable as error:
            logger.warning(
                "the connections of this process count until its lease ends: %s",
                quote(error),
            )
        await self._store.close()

    def _take_changed(self) -> dict[str, int]:
        taken: dict[str, int] = {}
        while self._changed and len(taken) < BATCH_COUNTS:
            subject = self._changed.pop()
            taken[subject] = self.counts[subject]
        return taken

    def _take_asks(self) -> list[_Ask]:
        taken: list[_Ask] = []
        while self._asks and len(taken) < BATCH_CONNECTIONS:
            ask = self._asks.popleft()
            if not ask.over.done():
                taken.append(ask)
        return taken

    def _answer(self, ask: _Ask, over: str | None) -> None:
        if ask.over.done():  # withdrawn meanwhile
            if over is None:
                self._note_changed([subject for subject, _ in ask.claims])
            return
        if over is None:
            self._count(ask.claims)
        ask.answer(over)

    def _withdraw(self, ask: _Ask) -> None:
        """Whoever asked waits no longer, and may not have seen that the answer came."""
        ask.over.cancel()
        if ask.is_admitted:
            self.release([subject for subject, _ in ask.claims])

    def _fall_back(self, error: Unavailable) -> None:
        if not self._is_away:
            self._is_away = True
            logger.warning(
                "connections are counted in this process alone for now: %s",
                quote(error),
            )
        while asks := self._take_asks():
            for ask in asks:
                ask.answer(self._admit_here(ask.claims))

    def _admit_here(self, claims: Sequence[Claim]) -> str | None:
        over = super()._admit_here(claims)
        if over is None:
            self._note_changed([subject for subject, _ in claims])
        return over

    def _note_changed(self, subjects: Sequence[str]) -> None:
        if self._is_known:  # else all are going to be told
            self._changed.update(subjects)

    def _tell(self) -> None:
        self._release_timer = None
        self._has_work.set()
