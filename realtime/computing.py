"""The processor's time that statistics may take: whose it is, how much, and in which thread.

A window of a topic, a user and the process each have a share. Whoever has used theirs up waits
until it has filled again, and what is sent then counts what it left out. What is short is done in
the event loop, the rest in a thread: numpy holds up no other thread while it works on an array.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from time import thread_time
from typing import Any, Protocol

import numpy as np

from realtime.core.close_codes import CloseCode
from realtime.core.summaries import Floats
from realtime.core.windows import MAX_SAMPLES

# Shares of one processor: of the statistics of a topic, of all those that one user reads, and of
# all those of this process.
TOPIC_SHARE = 0.1
USER_SHARE = 0.1
PROCESS_SHARE = 0.3
# What was not used of a share is kept for so many seconds.
BURST_SECONDS = 2.0
# Work in the event loop, in one go; and in a thread.
LOOP_SECONDS = 0.001
THREAD_SECONDS = 0.05
THREADS = 2


class Budget:
    """A share of the processor that fills at a steady rate; times are those of one clock."""

    __slots__ = ("_even",)

    def __init__(self) -> None:
        self._even = float("-inf")  # when what was taken will have been filled again

    def find_delay(self, now: float) -> float:
        """Seconds until something may be taken again."""
        return max(self._even - now, 0.0)

    def spend(self, seconds: float, *, share: float, now: float) -> None:
        """Note that so much was taken, of a budget with that share."""
        self._even = max(self._even, now - BURST_SECONDS) + seconds / share

    def is_full(self, now: float) -> bool:
        """Whether nothing is left to know of it."""
        return self._even <= now - BURST_SECONDS


class Scratch:
    """Memory for one thread's work, used again and again."""

    def __init__(self) -> None:
        self.samples: tuple[Floats, Floats] = (np.empty(MAX_SAMPLES), np.empty(MAX_SAMPLES))
        self.values: Floats = np.empty(MAX_SAMPLES)


class Holding(Protocol):
    """Counts what one topic takes."""

    def hold(self, size: int) -> None:
        """It takes so many bytes now."""


class Memory(Protocol):
    """Counts the samples of all topics, and has some of them let go where they are too many."""

    def open(self, owner: str, cut: Callable[[CloseCode, str], None]) -> Holding:
        """For one more topic, of that owner; `cut` is called where it has to let go."""


class Client(Protocol):
    """Something that wants figures computed."""

    def find_delay(self, now: float) -> float:
        """Seconds until some of what it wants may be computed."""

    def begin(self, scratch: Scratch) -> Callable[[], Any] | None:
        """Do what is short, and return the rest, for a thread."""

    def finish(self, result: Any) -> None:
        """Take what came of it; None where it failed."""


class Computing:
    """Hands out the time of a process, to those who wait in the order in which they came."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory
        self._loop = asyncio.get_running_loop()
        self._budget = Budget()
        self._users: dict[str, Budget] = {}
        self._waiting: dict[Client, None] = {}
        self._working: set[Client] = set()
        self._scratches: list[Scratch] = []
        self._threads: ThreadPoolExecutor | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when that goes off

    def find_delay(self, budget: Budget, users: Iterable[str], now: float) -> float:
        """Seconds until one of these users, on this budget, may have something computed."""
        delays = (self._users[u].find_delay(now) if u in self._users else 0.0 for u in users)
        return max(min(delays, default=0.0), budget.find_delay(now), self._budget.find_delay(now))

    def charge(self, seconds: float, users: Iterable[str]) -> None:
        """Note what was computed, for all of these users together."""
        now = self._loop.time()
        self._budget.spend(seconds, share=PROCESS_SHARE, now=now)
        names = list(users)
        for user in names:
            budget = self._users.pop(user, None) or Budget()
            budget.spend(seconds / len(names), share=USER_SHARE, now=now)
            self._users[user] = budget  # at the end: those that are full come first
        while self._users and (oldest := next(iter(self._users))) not in names:
            if not self._users[oldest].is_full(now):
                break
            del self._users[oldest]

    def ask(self, client: Client) -> None:
        """Have something computed as soon as there is time for it."""
        if client not in self._waiting:
            self._waiting[client] = None
            self._wake(0)

    def forget(self, client: Client) -> None:
        """It wants nothing more."""
        self._waiting.pop(client, None)

    def close(self) -> None:
        """Begin nothing more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _wake(self, delay: float) -> None:
        when = self._loop.time() + delay
        if self._timer is not None:
            if self._due <= when:
                return
            self._timer.cancel()
        self._due = when
        self._timer = self._loop.call_at(when, self._work)

    def _work(self) -> None:
        self._timer = None
        end = thread_time() + LOOP_SECONDS
        soonest = None
        for client in tuple(self._waiting):
            if client in self._working:
                continue
            if len(self._working) >= THREADS or thread_time() > end:
                soonest = 0.0 if len(self._working) < THREADS else None
                break
            delay = client.find_delay(self._loop.time())
            if delay > 0:
                soonest = delay if soonest is None else min(delay, soonest)
                continue
            del self._waiting[client]
            self._begin(client)
        if soonest is not None:
            self._wake(soonest)

    def _begin(self, client: Client) -> None:
        scratch = self._scratches.pop() if self._scratches else Scratch()
        task = client.begin(scratch)
        if task is None:
            self._scratches.append(scratch)
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="statistics")
        self._working.add(client)
        future = self._loop.run_in_executor(self._threads, task)
        future.add_done_callback(lambda future: self._finish(client, scratch, future))

    def _finish(self, client: Client, scratch: Scratch, future: "asyncio.Future[Any]") -> None:
        self._working.discard(client)
        self._scratches.append(scratch)
        if future.cancelled():
            return
        if self._waiting:
            self._wake(0)
        if (error := future.exception()) is not None:
            client.finish(None)
            raise error  # the loop logs it
        client.finish(future.result())
