"""The members of one topic, on all instances, as this process knows them."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from realtime.core.messages import Join, Leave, encode_message
from realtime.core.topics import Topic
from realtime.frames import Frames
from realtime.presence import Change, Member, Snapshot

# Above this many members nobody is told who comes and goes.
MOST_TOLD = 100
# Messages of other instances that arrive while the roster is being read.
MAX_EARLY = 256
# Versions that are known above one that was missed; the next comparison finds it anyway.
MAX_AHEAD = 1000
# A version that no topic has, so the next comparison leads to reading it again.
UNCERTAIN = -1
# Changes of one topic that wait for the store. Where more do, the topic is read again instead:
# what the store has then is compared with who is here.
MAX_UNSAVED = 10_000


class Mailbox(Protocol):
    """What writes to a session's socket."""

    def has_room(self, size: int) -> bool:
        """Whether an item of that many bytes would be taken."""

    def put(self, frames: Frames) -> None:
        """Queue an item."""


class Roster:
    """Members by session. Changes are told by `tell()`, and written by whoever takes them."""

    def __init__(self, topic: Topic, *, instance: str) -> None:
        self.topic = topic
        self.members: dict[str, Member] = {}
        self.local: dict[str, Mailbox] = {}  # the sessions of this process
        self.others: dict[str, set[str]] = {}  # sessions by the other instance that has them
        # The version of the store that this is: all that was written up to it is here. None: it
        # has to be read.
        self.version: int | None = None
        self._ahead: set[int] = set()  # later versions that were heard already
        self.is_loaded = False
        self.is_reading = False
        self._instance = instance
        self._unsaved: dict[str, None] = {}  # sessions of this process that changed, in order
        self._stored: set[str] = set()  # sessions of this process that the store may have
        self._writing = 0  # changes that are being written
        self._before: dict[str, Member | None] = {}  # what had been told of those that changed
        self._early: list[tuple[int, list[Member], list[str]]] = []
        self._is_outdated = False  # what is being read has to be read again

    # Sessions of this process

    def join(self, member: Member, mailbox: Mailbox) -> None:
        """A session of this process has come."""
        self.local[member.session] = mailbox
        self._add(member)
        self._unsaved[member.session] = None

    def leave(self, session: str) -> None:
        """A session of this process has gone."""
        del self.local[session]
        self._remove(session)
        if session in self._stored:
            self._unsaved[session] = None
        else:
            self._unsaved.pop(session, None)  # it came and went unseen

    @property
    def is_unsaved(self) -> bool:
        """Whether the store has to be told something."""
        return bool(self._unsaved)

    @property
    def is_used(self) -> bool:
        """Whether it has to be kept: for a session, or for what is not written yet."""
        return bool(self.local or self._unsaved or self._stored or self._writing or self.is_reading)

    def take_changes(self, *, limit: int) -> list[Change]:
        """What the store has to be told, in parts of up to `limit` sessions."""
        sessions = list(self._unsaved)
        self._unsaved.clear()
        self._stored.update(session for session in sessions if session in self.local)
        changes = []
        for start in range(0, len(sessions), limit):
            part = sessions[start : start + limit]
            joined = [self.members[session] for session in part if session in self.local]
            changes.append(Change(self.topic, joined, [s for s in part if s not in self.local]))
        self._writing += len(changes)
        return changes

    def put_back(self, change: Change) -> None:
        """That may not have been written: it waits again, as things stand then."""
        self._writing -= 1
        sessions = [*(member.session for member in change.joined), *change.left]
        self._unsaved = {**dict.fromkeys(sessions), **self._unsaved}
        if len(self._unsaved) > MAX_UNSAVED + len(self.local):
            self._unsaved.clear()
            self.version = None

    def confirm(self, change: Change, *, version: int) -> None:
        """That was written; the topic had this version then."""
        self._writing -= 1
        self._stored.difference_update(s for s in change.left if s not in self._unsaved)
        self.hear(version=version, joined=[], left=[])

    def lose(self) -> None:
        """The store may have forgotten everything."""
        self._unsaved.update(dict.fromkeys(self.local))
        self.version = None
        self._is_outdated = self.is_reading

    # The other instances

    def hear(self, *, version: int, joined: list[Member], left: list[str]) -> None:
        """What another instance has written, which was the topic's version then."""
        if self.is_reading:
            if len(self._early) < MAX_EARLY:
                self._early.append((version, joined, left))
            else:
                self._is_outdated = True
        elif self._count(version):
            for session in left:
                self._remove(session)
            for member in joined:
                self._add(member)

    def drop(self, instance: str, *, is_told: bool) -> set[str]:
        """An instance is dead: its members have gone. Returns their sessions."""
        sessions = self.others.pop(instance, set())
        for session in sessions:
            self._remove(session, is_told=is_told)
        return sessions

    def take_snapshot(self, snapshot: Snapshot) -> None:
        """What the store says, with what was heard since the reading began."""
        is_certain = True
        present = {member.session for member in snapshot.members}
        for member in snapshot.members:
            if member.instance == self._instance:
                if member.session not in self.local:  # a trace of somebody who has gone
                    self._stored.add(member.session)
                    self._unsaved[member.session] = None
            elif member.session not in self.members:
                # One whose instance may be dead is not announced.
                is_told = self.is_loaded and member.instance not in snapshot.absent
                self._add(member, is_told=is_told)
        for session in [session for session in self.members if session not in present]:
            member = self.members[session]
            if member.instance == self._instance:
                self._unsaved[session] = None  # the store has lost it, or not got it yet
            elif member.instance in snapshot.absent:
                is_certain = False  # it died, or is about to write its members anew
            else:
                self._remove(session)
        self._stored &= present | self.local.keys() | self._unsaved.keys()
        self.version = snapshot.version
        self._ahead.clear()
        self.is_loaded = True
        self.end_reading()
        if not is_certain and self.version is not None:
            self.version = UNCERTAIN

    def end_reading(self) -> None:
        """Catch up with what was heard meanwhile."""
        self.is_reading = False
        early, self._early = self._early, []
        for version, joined, left in early:
            self.hear(version=version, joined=joined, left=left)
        if self._is_outdated:
            self._is_outdated = False
            self.version = None

    # Telling

    def tell(self, *, spare: int) -> None:
        """Tell the sessions of this process who came and who went since the last time.

        These are hints: whoever would have less than `spare` bytes of room left is not told.
        """
        before, self._before = self._before, {}
        joined, left = [], []
        for session, old in before.items():
            member = self.members.get(session)
            if old is None and member is not None:
                joined.append(member)
            elif old is not None and member is None:
                left.append(old)
        if not self.local or not (joined or left):
            return
        if max(len(self.members), len(self.members) - len(joined) + len(left)) > MOST_TOLD:
            return
        topic = str(self.topic)
        texts = {
            m.session: encode_message(Leave(topic=topic, user=m.user, session=m.session))
            for m in left
        } | {
            m.session: encode_message(Join(topic=topic, user=m.user, session=m.session))
            for m in joined
        }
        shared = _frame_texts(texts.values())
        for session, mailbox in self.local.items():
            frames = shared
            if session in texts:  # nobody is told about themselves
                frames = _frame_texts(text for other, text in texts.items() if other != session)
            if frames.messages and mailbox.has_room(frames.size + spare):
                mailbox.put(frames)

    def _add(self, member: Member, *, is_told: bool = True) -> None:
        if is_told:
            self._before.setdefault(member.session, self.members.get(member.session))
        self.members[member.session] = member
        if member.instance != self._instance:
            self.others.setdefault(member.instance, set()).add(member.session)

    def _remove(self, session: str, *, is_told: bool = True) -> None:
        member = self.members.pop(session, None)
        if member is None:
            return
        if is_told:
            self._before.setdefault(session, member)
        sessions = self.others.get(member.instance)
        if sessions is not None:
            sessions.discard(session)
            if not sessions:
                del self.others[member.instance]

    def _count(self, version: int) -> bool:
        """Note that a version was heard; False where it is known already."""
        if self.version == 0:  # a topic that begins, nobody knows where
            self.version = UNCERTAIN
        if self.version is None or self.version == UNCERTAIN:
            return True
        if version <= self.version or version in self._ahead:
            return False
        self._ahead.add(version)
        while self.version + 1 in self._ahead:
            self.version += 1
            self._ahead.remove(self.version)
        if len(self._ahead) > MAX_AHEAD:  # what is between was lost
            self._ahead.clear()
            self.version = UNCERTAIN
        return True


def _frame_texts(texts: Iterable[str]) -> Frames:
    messages = tuple(texts)
    return Frames(messages, sum(len(text.encode()) for text in messages))


def merge_members(
    found: Iterable[Member], members: Mapping[str, Member], *, instance: str
) -> list[Member]:
    """Those that the store has of other instances, with this instance's own from `members`."""
    own = [member for member in members.values() if member.instance == instance]
    return [*own, *(member for member in found if member.instance != instance)]
