"""How many HTTP connections a process has, in all and from each address.

Where there are as many as may be, the one that has waited longest without a request makes room:
who opens connections and leaves them idle takes them from themselves. Only where all of them are
busy is a new one refused. WebSockets are no part of this (docs/limits.md counts them apart).
"""

from typing import Protocol

from realtime.conf import Settings
from realtime.core.addresses import group_address
from realtime.limits import Limit
from realtime.metrics import LIMITED


class Guest(Protocol):
    """A connection, as it is counted."""

    address: str

    def evict(self) -> None:
        """End now: there is no request to be answered."""


class _Group:
    """Those that are counted together; the first that waits has waited longest."""

    __slots__ = ("count", "limit", "most", "waiting")

    def __init__(self, limit: Limit, most: int) -> None:
        self.limit = limit
        self.most = most
        self.count = 0
        self.waiting: dict[Guest, None] = {}


class Admission:
    """The HTTP connections of a process. `counts_addresses` is False where all are a proxy's."""

    def __init__(self, settings: Settings, *, counts_addresses: bool) -> None:
        self._all = _Group(
            Limit.HTTP_CONNECTIONS_PER_PROCESS, settings.http_connections_per_process
        )
        self._most_of_address = settings.http_connections_per_address if counts_addresses else 0
        self._addresses: dict[str, _Group] = {}
        self._groups: dict[Guest, tuple[_Group, ...]] = {}

    def admit(self, guest: Guest) -> bool:
        """Count a connection that waits for its first request; False where there is no room."""
        groups = self._find_groups(guest)
        for group in groups:
            if group.most and group.count >= group.most and not self._make_room(group):
                return False
        self._groups[guest] = groups
        for group in groups:
            group.count += 1
            group.waiting[guest] = None
        if len(groups) > 1:
            self._addresses[group_address(guest.address)] = groups[0]
        return True

    def note_busy(self, guest: Guest) -> None:
        """It has a request now, which is to be answered."""
        for group in self._groups.get(guest, ()):
            group.waiting.pop(guest, None)

    def note_waiting(self, guest: Guest) -> None:
        """It waits for a request, or for its end."""
        for group in self._groups.get(guest, ()):
            group.waiting.setdefault(guest)

    def remove(self, guest: Guest) -> None:
        """Count it no longer; nothing happens where it was not."""
        groups = self._groups.pop(guest, ())
        for group in groups:
            group.count -= 1
            group.waiting.pop(guest, None)
        if len(groups) > 1 and not groups[0].count:
            del self._addresses[group_address(guest.address)]

    def _find_groups(self, guest: Guest) -> tuple[_Group, ...]:
        if not guest.address or not self._most_of_address:
            return (self._all,)
        group = self._addresses.get(group_address(guest.address))
        if group is None:
            group = _Group(Limit.HTTP_CONNECTIONS_PER_ADDRESS, self._most_of_address)
        return (group, self._all)

    def _make_room(self, group: _Group) -> bool:
        LIMITED.labels(group.limit).inc()
        longest = next(iter(group.waiting), None)
        if longest is None:
            return False
        self.remove(longest)
        longest.evict()
        return True
