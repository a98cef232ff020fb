"""What a presence store does, whatever keeps it: who is on a topic, on which instance."""

import random
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from realtime.core.topics import Topic


@dataclass(frozen=True, slots=True)
class Member:
    """A subscribed session.

    `user` is the username (None: anonymous), `since` the time in microseconds since the epoch.
    """

    session: str
    instance: str
    user: str | None
    since: int


@dataclass(frozen=True, slots=True)
class Change:
    """Members of one instance that came to a topic, and sessions that went."""

    topic: Topic
    joined: Sequence[Member] = ()
    left: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A topic's members at one moment, and the version that the topic had then.

    `absent` are the instances without a lease, of the members' and of those that were asked
    about. One that was asked about and is not in it has all its members here, but for what it
    is about to write.
    """

    version: int
    members: Sequence[Member]
    absent: frozenset[str] = frozenset()

    @property
    def alive(self) -> list[Member]:
        """The members whose instance has a lease."""
        return [member for member in self.members if member.instance not in self.absent]


class Presence(ABC):
    """The members of each topic, and a lease for each instance that has members.

    An instance writes its members first and takes its lease after that: so whoever sees the
    lease also sees the members. Every call may be repeated, and raises Unavailable where the
    store does not answer in time.
    """

    # Whether other instances write to it too.
    is_shared: bool = False

    @abstractmethod
    async def write(self, changes: Sequence[Change]) -> list[int]:
        """Write changes; returns the topics' versions, each higher by one for its change.

        The version of a new topic begins anywhere: where a store has forgotten everything, the
        versions show it.
        """

    @abstractmethod
    async def read(
        self, topics: Sequence[Topic], *, instances: Collection[str] = ()
    ) -> list[Snapshot]:
        """The members of each topic, asking about the leases of `instances` as well."""

    @abstractmethod
    async def read_versions(self, topics: Sequence[Topic]) -> list[int]:
        """The version of each topic, 0 where it has none; what is asked about is kept longer."""

    @abstractmethod
    async def take_lease(self) -> None:
        """This instance is alive and has written all its members."""

    @abstractmethod
    async def renew_lease(self) -> bool:
        """Renew this instance's lease; False where it is lost, and it stays lost then."""

    @abstractmethod
    async def end_lease(self) -> None:
        """This instance has no members any more."""

    @abstractmethod
    async def find_alive(self, instances: Collection[str]) -> set[str]:
        """Those of these instances that have a lease."""

    @abstractmethod
    async def forget(self, instance: str, sessions: Mapping[Topic, Collection[str]]) -> None:
        """Delete members of an instance, unless it has a lease (again).

        This too raises a topic's version, so that an instance that comes back in this moment
        finds out.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections."""


def cut_changes(changes: Iterable[Change], *, size: int) -> list[list[Change]]:
    """The changes in parts of up to `size` sessions, but for a longer change on its own."""
    parts: list[list[Change]] = []
    room = 0
    for change in changes:
        count = len(change.joined) + len(change.left)
        if room < count or not parts:
            parts.append([])
            room = size
        parts[-1].append(change)
        room -= count
    return parts


def begin_version() -> int:
    """Where the version of a new topic begins."""
    return random.getrandbits(40)


def encode_member(member: Member) -> bytes:
    """All of a member but its session, as msgpack: [instance, user, since]."""
    return msgspec.msgpack.encode((member.instance, member.user, member.since))


def decode_member(session: str, data: bytes) -> Member:
    """Undo `encode_member()`; raises msgspec.MsgspecError."""
    fields: Any = _DECODER.decode(data)
    return Member(session, *fields)


_DECODER = msgspec.msgpack.Decoder(tuple[str, str | None, int])
