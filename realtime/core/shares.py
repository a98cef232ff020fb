"""Who holds how much of something that all share, and who holds most."""

from heapq import heapify, heappop, heappush, heapreplace
from itertools import count


class Shares:
    """Amounts by holder. What changes costs a dictionary; only who asks for the largest pays."""

    def __init__(self) -> None:
        self.total = 0
        self._held: dict[str, int] = {}
        # (-amount, when it was put there, holder); of equals the one that was put there first is
        # first. A holder's entry is the one with the amount in `_entered`, which is what it holds,
        # or more: that is put right when it comes to the top.
        self._heap: list[tuple[int, int, str]] = []
        self._entered: dict[str, int] = {}
        self._changed: dict[str, None] = {}  # those that may hold more
        self._turns = count()

    def __getitem__(self, holder: str) -> int:
        return self._held.get(holder, 0)

    def __len__(self) -> int:
        return len(self._held)

    def add(self, holder: str, amount: int) -> None:
        """Somebody holds so much more; a negative amount is less."""
        self.total += amount
        held = self._held.get(holder, 0) + amount
        if held > 0:
            self._held[holder] = held
            self._changed[holder] = None
        else:
            self._held.pop(holder, None)
            self._changed.pop(holder, None)

    def find_largest(self, *, without: str | None = None) -> str | None:
        """Who holds most, of all but one; None where there is nobody."""
        for holder in self._changed:
            if self._held[holder] > self._entered.get(holder, 0):
                heappush(self._heap, self._enter(holder))
        self._changed.clear()
        if len(self._heap) > 2 * len(self._held) + 64:
            self._entered.clear()
            self._heap = [self._enter(holder) for holder in self._held]
            heapify(self._heap)
        aside: list[tuple[int, int, str]] = []
        largest = None
        while self._heap:
            amount, _, holder = self._heap[0]
            held = self._held.get(holder)
            if self._entered.get(holder) != -amount:  # there is a newer entry
                heappop(self._heap)
            elif held is None:
                heappop(self._heap)
                del self._entered[holder]
            elif held < -amount:
                heapreplace(self._heap, self._enter(holder))
            elif holder == without:
                aside.append(heappop(self._heap))
            else:
                largest = holder
                break
        for entry in aside:
            heappush(self._heap, entry)
        return largest

    def _enter(self, holder: str) -> tuple[int, int, str]:
        held = self._entered[holder] = self._held[holder]
        return -held, next(self._turns), holder
