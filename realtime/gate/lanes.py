"""The threads that requests run in, and the queues before them.

Each thread serves one request after another, and so keeps its connection to the database. Django
makes a thread for each request by itself, and as many connections.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from enum import Enum, auto
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# One address has this part of the threads at most: else its slow requests could keep all others
# out.
SHARE = 0.75


class Refusal(Enum):
    """Why a request does not get a thread."""

    ADDRESS_FULL = auto()  # too many requests of its address wait
    LANE_FULL = auto()  # too many requests wait in all
    TOO_LATE = auto()  # it has waited for too long


class Lane:
    """So many threads, and who waits for one. The addresses take turns.

    Belongs to one event loop.
    """

    def __init__(self, name: str, *, threads: int, waiting: int, waiting_of_address: int) -> None:
        self._idle = [
            ThreadPoolExecutor(1, thread_name_prefix=f"{name}-{number}")
            for number in range(threads)
        ]
        self._share = max(1, int(threads * SHARE))
        self._most = waiting
        self._most_of_address = waiting_of_address
        self._running: Counter[str] = Counter()
        # The addresses in the order of their turns, each with its requests, the oldest first.
        self._waiting: OrderedDict[str, deque[Turn]] = OrderedDict()
        self._waiting_count = 0

    def find_refusal(self, address: str) -> Refusal | None:
        """Why one more request of this address could not even wait now; else None."""
        if len(self._waiting.get(address, ())) >= self._most_of_address:
            return Refusal.ADDRESS_FULL
        if self._waiting_count >= self._most:
            return Refusal.LANE_FULL
        return None

    def enter(self, turn: "Turn") -> Refusal | None:
        """Give a thread to this turn, or let it wait for one; returns why that cannot be."""
        if self._idle and self._running[turn.address] < self._share:
            self._start(turn)
            return None
        refusal = self.find_refusal(turn.address)
        if refusal is None:
            self._waiting.setdefault(turn.address, deque()).append(turn)
            self._waiting_count += 1
        return refusal

    def withdraw(self, turn: "Turn") -> None:
        """It does not wait any more."""
        turns = self._waiting[turn.address]
        turns.remove(turn)
        self._waiting_count -= 1
        if not turns:
            del self._waiting[turn.address]

    def leave(self, address: str, thread: ThreadPoolExecutor) -> None:
        """A request of this address needs its thread no longer: the next one gets it."""
        self._running[address] -= 1
        if not self._running[address]:
            del self._running[address]
        self._idle.append(thread)
        following = self._take_next()
        if following is not None:
            self._start(following)

    def _take_next(self) -> "Turn | None":
        mine = (name for name in self._waiting if self._running[name] < self._share)
        address = next(mine, None)
        if address is None:
            return None
        turns = self._waiting[address]
        turn = turns.popleft()
        self._waiting_count -= 1
        if turns:
            self._waiting.move_to_end(address)
        else:
            del self._waiting[address]
        return turn

    def _start(self, turn: "Turn") -> None:
        self._running[turn.address] += 1
        turn.start(self._idle.pop())


class Turn(Executor):
    """One request on its way through a lane; what it runs in a thread goes to that of its turn.

    The thread is for the next request as soon as this one has an answer. What it still has to do
    in it then, such as closing its response, takes turns with that.
    """

    def __init__(self, lane: Lane, address: str) -> None:
        self.address = address
        self.granted = asyncio.get_running_loop().create_future()
        self._lane = lane
        self._thread: ThreadPoolExecutor | None = None
        self._has_left = False

    def enter(self) -> Refusal | None:
        """Ask for a thread: `granted` is done when there is one. Returns why it cannot wait."""
        return self._lane.enter(self)

    def withdraw(self) -> None:
        """Ask no more; nothing happens where it has been granted."""
        if not self.granted.done():
            self._lane.withdraw(self)

    def start(self, thread: ThreadPoolExecutor) -> None:
        """The lane has a thread for it."""
        self._thread = thread
        self.granted.set_result(None)

    def leave(self) -> None:
        """Nothing of it runs in its thread: the next one may."""
        if self._thread is not None and not self._has_left:
            self._has_left = True
            self._lane.leave(self.address, self._thread)

    def leave_when_idle(self) -> None:
        """The same, but something of it may run in its thread yet: it was given up."""
        if self._thread is not None and not self._has_left:
            self._has_left = True
            address, thread = self.address, self._thread
            asyncio.wrap_future(thread.submit(int)).add_done_callback(
                lambda _: self._lane.leave(address, thread)
            )

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run something in the thread of this turn."""
        if self._thread is None:
            raise RuntimeError("before the body has been read, nothing runs in a thread")
        return self._thread.submit(function, *args, **kwargs)
