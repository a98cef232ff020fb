"""Counts that expire: in Redis for all instances, or in this process while Redis is away."""

import logging
import threading
import time
from collections.abc import Callable
from functools import cache as remember
from typing import NamedTuple

from django.core.cache import BaseCache, caches
from redis.exceptions import RedisError

# After a failure Redis is left alone for so long, so that not every sign-in waits for it.
PAUSE_SECONDS = 5.0
# While it stays away, the log says so this often.
LOG_SECONDS = 60.0

logger = logging.getLogger("accounts.counts")


class Count(NamedTuple):
    """How many since the first one; `ends_at`, in seconds since the epoch, is when all are let go.

    Where there are none, `ends_at` is 0.
    """

    number: int
    ends_at: float


class Counts:
    """Counts by name. A failure of the shared cache costs exactness, never a request."""

    def __init__(self, shared: BaseCache, own: BaseCache) -> None:
        self._shared = shared
        self._own = own
        self._resumes_at = 0.0
        self._logs_at = 0.0
        self._lock = threading.Lock()

    def add(self, name: str, *, seconds: int) -> Count:
        """One more. A count begins with its first one and ends after so many seconds."""
        return self._ask(lambda cache: _add(cache, name, seconds))

    def read(self, name: str, *, seconds: int) -> Count:
        """As it stands."""
        return self._ask(lambda cache: _read(cache, name, seconds))

    def _ask(self, operation: Callable[[BaseCache], Count]) -> Count:
        if time.monotonic() >= self._resumes_at:
            try:
                return operation(self._shared)
            except (RedisError, OSError) as error:
                self._pause(error)
        return operation(self._own)

    def _pause(self, error: Exception) -> None:
        with self._lock:
            now = time.monotonic()
            self._resumes_at = now + PAUSE_SECONDS
            if now < self._logs_at:
                return
            self._logs_at = now + LOG_SECONDS
        logger.warning(
            "sign-ins are counted in this process alone: Redis does not answer",
            extra={"error": str(error)},
        )


@remember
def get_counts() -> Counts:
    """The counts of this process, whose caches and connections all threads share."""
    return Counts(caches.create_connection("default"), caches.create_connection("process"))


# Under the name stands when the count began, in milliseconds since the epoch, and under both of
# them the number. For Django's Redis cache can lose the time limit of a number that it raises in
# its last moment; so no number is used for longer than its own period.


def _add(cache: BaseCache, name: str, seconds: int) -> Count:
    began = cache.get(name)
    if began is None:
        now = int(time.time() * 1000)
        cache.add(name, now, seconds)
        began = cache.get(name, now)
    return Count(_raise_number(cache, f"{name}:{began}", seconds), began / 1000 + seconds)


def _raise_number(cache: BaseCache, name: str, seconds: int) -> int:
    if cache.add(name, 1, seconds):
        return 1
    try:
        return int(cache.incr(name))
    except ValueError:  # it ended between the two
        return 1


def _read(cache: BaseCache, name: str, seconds: int) -> Count:
    began = cache.get(name)
    if began is None:
        return Count(0, 0.0)
    return Count(cache.get(f"{name}:{began}", 0), began / 1000 + seconds)
