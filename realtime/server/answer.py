"""Answers on their way: how long they wait for whoever is to read them."""

import asyncio
import time

from realtime.conf import Settings


class AnswerClock:
    """Counts how long one answer after another waits until the socket takes more of it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._given = 0  # bytes of this answer
        self._waited = 0.0  # seconds of it
        self._since: float | None = None
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def patience(self) -> float:
        """How many seconds this answer may wait, all in all."""
        return self._settings.http_patience + self._given / self._settings.http_least_rate

    @property
    def is_awaited(self) -> bool:
        """Whether what was written has not been taken yet."""
        return self._since is not None

    def is_late(self, now: float) -> bool:
        """Whether this answer has waited for too long."""
        return self._since is not None and self._waited + now - self._since > self.patience

    def begin(self) -> None:
        """Another answer begins."""
        self._given, self._waited = 0, 0.0

    def hold(self) -> None:
        """The socket takes no more for now."""
        if self._since is None:
            self._since = time.monotonic()

    def go_on(self) -> None:
        """It has taken all, or there is nobody to wait for."""
        if self._since is None:
            return
        self._waited += time.monotonic() - self._since
        self._since = None
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, size: int) -> None:
        """Wait until the socket takes more; so many bytes of the answer follow then."""
        while self._since is not None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        self._given += size
