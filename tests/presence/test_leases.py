"""When an instance counts as dead, and when it is only suspected."""

from collections.abc import Collection

import pytest

from realtime.presence.leases import DEAD_AFTER, Leases
from realtime.presence.memory import MemoryPresence


class Store(MemoryPresence):
    """The leases are what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: set[str] = set()

    async def take_lease(self) -> None:
        self.alive.add("own")

    async def renew_lease(self) -> bool:
        return "own" in self.alive

    async def end_lease(self) -> None:
        self.alive.remove("own")

    async def find_alive(self, instances: Collection[str]) -> set[str]:
        return self.alive & set(instances)


@pytest.fixture
def store() -> Store:
    return Store()


async def look(leases: Leases, times: int) -> list[str]:
    dead = []
    for _ in range(times):
        dead += await leases.find_dead(["other"])
    return dead


async def test_an_instance_is_dead_after_so_many_looks_and_once(store: Store) -> None:
    leases = Leases(store)
    assert await look(leases, DEAD_AFTER - 1) == []
    assert await look(leases, 1) == ["other"]
    assert await look(leases, DEAD_AFTER - 1) == []


async def test_one_lease_between_or_an_outage_starts_the_count_anew(store: Store) -> None:
    leases = Leases(store)
    await look(leases, DEAD_AFTER - 1)
    store.alive.add("other")
    await look(leases, 1)
    store.alive.clear()
    assert await look(leases, DEAD_AFTER - 1) == []
    leases.start_over()
    assert await look(leases, DEAD_AFTER - 1) == []
    assert await look(leases, 1) == ["other"]


async def test_a_lease_that_was_never_taken_cannot_be_lost(store: Store) -> None:
    leases = Leases(store)
    assert await leases.renew()
    await leases.end()
    await leases.take()
    assert leases.has_own
    assert await leases.renew()
    store.alive.clear()
    assert not await leases.renew()
    assert not leases.has_own
    assert await leases.renew()  # said once; whoever owns it takes it again


async def test_a_suspect_is_trusted_when_it_speaks_or_has_a_lease(store: Store) -> None:
    leases = Leases(store)
    leases.suspect(["other", "third"])
    await leases.find_dead(["other", "third"])
    assert leases.is_suspect("other")
    leases.trust("third")
    assert not leases.is_suspect("third")
    store.alive.add("other")
    await leases.find_dead(["other", "third"])
    assert not leases.is_suspect("other")
