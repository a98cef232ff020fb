"""Presence in the memory of the one process: its own members are all there are."""

from collections.abc import Collection, Mapping, Sequence

from realtime.core.topics import Topic
from realtime.presence.base import Change, Member, Presence, Snapshot, begin_version


class MemoryPresence(Presence):
    """Versions and members by topic; a topic without members is forgotten."""

    def __init__(self) -> None:
        self._versions: dict[Topic, int] = {}
        self._members: dict[Topic, dict[str, Member]] = {}

    async def write(self, changes: Sequence[Change]) -> list[int]:
        return [self._write(change) for change in changes]

    async def read(
        self, topics: Sequence[Topic], *, instances: Collection[str] = ()
    ) -> list[Snapshot]:
        return [
            Snapshot(self._versions.get(topic, 0), list(self._members.get(topic, {}).values()))
            for topic in topics
        ]

    async def read_versions(self, topics: Sequence[Topic]) -> list[int]:
        return [self._versions.get(topic, 0) for topic in topics]

    async def take_lease(self) -> None:
        """Nobody else could ask for it."""

    async def renew_lease(self) -> bool:
        return True

    async def end_lease(self) -> None:
        """Nobody else could ask for it."""

    async def find_alive(self, instances: Collection[str]) -> set[str]:
        return set(instances)

    async def forget(self, instance: str, sessions: Mapping[Topic, Collection[str]]) -> None:
        """The one instance is alive."""

    async def close(self) -> None:
        self._versions.clear()
        self._members.clear()

    def _write(self, change: Change) -> int:
        topic = change.topic
        version = (self._versions.get(topic) or begin_version()) + 1
        members = self._members.setdefault(topic, {})
        members.update((member.session, member) for member in change.joined)
        for session in change.left:
            members.pop(session, None)
        if members:
            self._versions[topic] = version
        else:
            del self._members[topic]
            self._versions.pop(topic, None)
        return version
