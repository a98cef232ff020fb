"""How much a process holds for its clients, and whose it is: input, and samples.

Whoever may send long messages can leave them unfinished, on as many sockets as they may have. So
all that has come and has not been handled is counted for its owner, a user or else an address,
and for the process. So are the samples of topics whose statistics somebody reads. What is too
much is taken from those who hold it: the oldest of an owner with more than its share, or of the
owner with most where the process holds too much.
"""

import heapq
from collections.abc import Callable

from realtime.core.close_codes import CloseCode
from realtime.limits.kinds import Limit
from realtime.metrics import LIMITED
from realtime.sessions import pick_retry_after

# When the process holds too much, this part of its bound is made free at once, so that those who
# hold most are not looked for with every byte that comes.
ROOM = 1 / 64

# Above this much in a process many long messages are on their way at once, in bytes.
CROWDED = 32 * 1024 * 1024

# Lets go of all that is held, at once, and closes the connection with this code and reason.
Cut = Callable[[CloseCode, str], None]


class _Owner:
    """What a user or an address holds."""

    __slots__ = ("holdings", "size")

    def __init__(self) -> None:
        self.size = 0
        self.holdings: dict[Holding, None] = {}  # those that hold anything, the oldest first


class Holding:
    """What one connection, upload or topic holds; `size` is in bytes."""

    __slots__ = ("_cut", "_memory", "_owner", "size")

    def __init__(self, memory: "HeldMemory", owner: str, cut: Cut) -> None:
        self.size = 0
        self._memory = memory
        self._owner = owner
        self._cut = cut

    @property
    def is_crowded(self) -> bool:
        """Whether so much is held in all that the next long message is not an ordinary one."""
        return self._memory.size > CROWDED

    def hold(self, size: int) -> None:
        """It holds so many bytes now. Somebody may be cut for that, perhaps this one itself."""
        self._memory.change(self, self._owner, size)

    def move(self, owner: str) -> None:
        """From now on it is this owner's."""
        size = self.size
        self.hold(0)
        self._owner = owner
        if size:
            self.hold(size)

    def cut(self, code: CloseCode, reason: str) -> None:
        """Called when it has to let go: it holds nothing then."""
        self.hold(0)
        self._cut(code, reason)


class HeldMemory:
    """Counts what a process holds; bounds are in bytes, and 0 lifts one."""

    def __init__(
        self, *, per_owner: int = 0, per_process: int, limit: Limit = Limit.INPUT_PER_PROCESS
    ) -> None:
        self.size = 0
        self._limit = limit  # as which the bound of the process is counted
        self._per_owner = per_owner
        self._per_process = per_process
        self._owners: dict[str, _Owner] = {}  # those who hold anything

    def open(self, owner: str, cut: Cut) -> Holding:
        """A holding that holds nothing yet; it ends with `hold(0)`."""
        return Holding(self, owner, cut)

    def change(self, holding: Holding, name: str, size: int) -> None:
        """Called by a holding for what it holds now."""
        grown = size - holding.size
        if not grown:
            return
        owner = self._owners.get(name)
        if owner is None:
            owner = self._owners[name] = _Owner()
        if not holding.size:
            owner.holdings[holding] = None
        holding.size = size
        owner.size += grown
        self.size += grown
        if not size:
            del owner.holdings[holding]
            if not owner.holdings:
                del self._owners[name]
        elif grown > 0:
            if self._per_owner and owner.size > self._per_owner:
                self._bound_owner(name, owner)
            if self._per_process and self.size > self._per_process:
                self._bound_process()

    def _bound_owner(self, name: str, owner: _Owner) -> None:
        kind = name.partition(" ")[0]
        while owner.size > self._per_owner:
            LIMITED.labels(Limit.INPUT).inc()
            next(iter(owner.holdings)).cut(
                CloseCode.RATE_LIMITED,
                f"too much unfinished input: at most {self._per_owner} bytes for each {kind}",
            )

    def _bound_process(self) -> None:
        most = self._per_process - int(self._per_process * ROOM)
        heap = [(-owner.size, name) for name, owner in self._owners.items()]
        heapq.heapify(heap)
        while self.size > most:
            _, name = heap[0]
            owner = self._owners[name]
            LIMITED.labels(self._limit).inc()
            next(iter(owner.holdings)).cut(CloseCode.TRY_AGAIN_LATER, pick_retry_after())
            if owner.holdings:
                heapq.heapreplace(heap, (-owner.size, name))
            else:
                heapq.heappop(heap)
