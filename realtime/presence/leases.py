"""Which instances are alive: the lease of this one, and how long others have had none."""

from collections.abc import Collection, Iterable

from realtime.presence.base import Presence

# An instance is dead when it had no lease so many times in a row. After the store has forgotten
# everything, that is time enough for those who live to notice.
DEAD_AFTER = 5


class Leases:
    """Keeps this instance's lease, once it was taken, and watches those of others."""

    def __init__(self, store: Presence) -> None:
        self.has_own = False
        self._store = store
        self._absent: dict[str, int] = {}  # how often an instance was seen without a lease
        self._suspects: set[str] = set()

    async def take(self) -> None:
        """This instance has written all its members; raises Unavailable."""
        await self._store.take_lease()
        self.has_own = True

    async def renew(self) -> bool:
        """Renew the lease, if it was taken; False where it was lost. Raises Unavailable."""
        if self.has_own and not await self._store.renew_lease():
            self.has_own = False
            return False
        return True

    async def end(self) -> None:
        """Give the lease up; raises Unavailable."""
        if self.has_own:
            await self._store.end_lease()

    async def find_dead(self, instances: Collection[str]) -> list[str]:
        """Look at the leases of these; returns who has had none for long. Raises Unavailable."""
        missed = set(instances) - await self._store.find_alive(instances)
        self._suspects &= missed
        self._absent = {instance: self._absent.get(instance, 0) + 1 for instance in missed}
        dead = [instance for instance, count in self._absent.items() if count >= DEAD_AFTER]
        for instance in dead:
            del self._absent[instance]
        return dead

    def start_over(self) -> None:
        """The store was away, and others could renew no better than this instance."""
        self._absent.clear()

    # Suspects: instances that had no lease when they were seen first. They are dead, or about
    # to take it.

    def suspect(self, instances: Iterable[str]) -> None:
        """These were seen for the first time, without a lease."""
        self._suspects.update(instances)

    def trust(self, instance: str) -> None:
        """This one has shown that it is alive."""
        self._suspects.discard(instance)

    def is_suspect(self, instance: str) -> bool:
        """Whether it has never been seen alive."""
        return instance in self._suspects
