"""Who holds how much of something that all share, and who holds most."""

from heapq import heapify, heappop, heappush, heapreplace
from itertools import count


class Shares:
    """Amounts by holder. What changes costs a dictionary; only who asks for the largest pays."""

    def __init__(self) -> None:
        self.total = 0
        self._held: dict[str, int] = {}
        # What is asked of: (-amount, when it was put there, holder). An entry that is out of date
        # is put right when it comes to the top; of equals the one that changed last comes last.
        self._heap: list[tuple[int, int, str]] = []
        self._changed: dict[str, None] = {}
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
            self._changed.pop(holder, None)
            self._changed[holder] = None
        else:
            self._held.pop(holder, None)
            self._changed.pop(holder, None)

    def find_largest(self, *, without: str | None = None) -> str | None:
        """Who holds most, of all but one; None where there is nobody."""
        for holder in self._changed:
            heappush(self._heap, self._enter(holder))
        self._changed.clear()
        if len(self._heap) > 2 * len(self._held) + 64:
            self._heap = [self._enter(holder) for holder in self._held]
            heapify(self._heap)
        aside: list[tuple[int, int, str]] = []
        largest = None
        while self._heap:
            amount, _, holder = self._heap[0]
            held = self._held.get(holder)
            if held is None or -amount < held:  # gone, or there is a newer entry
                heappop(self._heap)
            elif -amount > held:
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
        return -self._held[holder], next(self._turns), holder
