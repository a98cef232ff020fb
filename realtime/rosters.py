"""Who is on the topics of this process: told to its sessions, and kept true across instances.

What a session of this process does is known at once, told in batches (each 50 ms, or later where
much comes and goes), written to the store and then sent to the other instances. Whatever gets
lost on the way is found: each topic has a version in the store, which is compared with what was
heard. An instance that died loses its lease, and with it its members.
"""

import asyncio
import logging
import time
from time import thread_time
from typing import Any

from realtime.conf import Settings
from realtime.core.errors import Unavailable
from realtime.core.topics import Topic, parse_topic
from realtime.layer import Layer
from realtime.presence import Change, Member, Presence
from realtime.presence.base import cut_changes, decode_member, encode_member
from realtime.presence.leases import Leases
from realtime.redis_errors import quote
from realtime.roster import Mailbox, Roster, merge_members

logger = logging.getLogger("realtime.presence")

# The `type` of a message on a topic's group that says who came and who went.
MEMBERS = "members"

# What comes within this time is told, written and read together.
BATCH_DELAY = 0.05
# Telling takes at most so long in one go, in seconds, and this share of a processor: where more
# comes and goes it is told later, and less often.
TELL_SECONDS = 0.002
TELL_SHARE = 0.2
# Sessions in one call of the store, and in one message of the layer.
BATCH_SESSIONS = 1000
READ_TOPICS = 50
CHECK_TOPICS = 200
RETRY_DELAY = 0.5
# The lease is renewed, and those of the others are looked at, so many times in `lease_seconds`.
LOOKS = 15
# Versions are compared every so many looks.
CHECK_EVERY = 5


class Rosters:
    """The rosters of the topics that sessions of this process are on."""

    def __init__(self, *, settings: Settings, instance: str, layer: Layer, store: Presence) -> None:
        self._instance = instance
        self._layer = layer
        self._store = store
        self._send_timeout = settings.history_timeout
        self._look_delay = settings.lease_seconds / LOOKS
        # Hints use up to half of an outbox: they never make a session a slow one.
        self._spare = settings.outbox_bytes // 2
        self._loop = asyncio.get_running_loop()
        self._rosters: dict[Topic, Roster] = {}
        self._touched: dict[Topic, Roster] = {}  # those with something to tell
        self._tell_timer: asyncio.TimerHandle | None = None
        self._tell_delay = 0.0
        self._leases = Leases(store)
        self._has_unsaved = asyncio.Event()
        self._has_unread = asyncio.Event()
        self._is_troubled = False

    # Sessions of this process

    def join(self, topic: Topic, *, session: str, user: str | None, mailbox: Mailbox) -> None:
        """A session has subscribed; the topic's group has been joined already."""
        roster = self._rosters.get(topic)
        if roster is None:
            roster = self._rosters[topic] = Roster(topic, instance=self._instance)
            self._has_unread.set()
        since = int(time.time() * 1_000_000)
        roster.join(Member(session, self._instance, user, since), mailbox)
        self._note_change(roster)

    def leave(self, topic: Topic, session: str) -> None:
        """A session has gone; nothing happens where it never came."""
        roster = self._rosters.get(topic)
        if roster is not None and session in roster.local:
            roster.leave(session)
            self._note_change(roster)
            self._drop_unused(roster)

    async def read_members(self, topic: Topic) -> list[Member]:
        """Everybody on a topic, the oldest first; raises Unavailable."""
        roster = self._rosters.get(topic)
        if roster is not None and roster.is_loaded:
            is_suspect = self._leases.is_suspect
            members = [m for m in roster.members.values() if not is_suspect(m.instance)]
        else:
            (snapshot,) = await self._store.read([topic])
            roster = self._rosters.get(topic)
            own = roster.members if roster is not None else {}
            members = merge_members(snapshot.alive, own, instance=self._instance)
        return sorted(members, key=lambda member: (member.since, member.session))

    def hear(self, message: dict[str, Any]) -> None:
        """Take a message of another instance, of type `MEMBERS`."""
        roster = self._rosters.get(parse_topic(message["topic"]))
        if roster is None or message["instance"] == self._instance:
            return
        self._leases.trust(message["instance"])
        joined = [decode_member(session, data) for session, data in message["joined"].items()]
        roster.hear(version=message["version"], joined=joined, left=message["left"])
        self._note_heard(roster)

    # Tasks

    async def save_forever(self) -> None:
        """Write what changes, until cancelled."""
        self._has_unsaved.set()  # what was left where this failed before
        while True:
            await self._has_unsaved.wait()
            await asyncio.sleep(BATCH_DELAY)
            self._has_unsaved.clear()
            try:
                await self.save()
            except Unavailable as error:
                self._has_unsaved.set()
                await self._wait_for_store(error)
            else:
                self._is_troubled = False

    async def read_forever(self) -> None:
        """Read the rosters that are new or in doubt, until cancelled."""
        self._has_unread.set()  # as above
        while True:
            await self._has_unread.wait()
            self._has_unread.clear()
            try:
                await self.read()
            except Unavailable as error:
                self._has_unread.set()
                await self._wait_for_store(error)
            else:
                await asyncio.sleep(BATCH_DELAY)

    async def watch_forever(self) -> None:
        """Renew the lease and look for what was missed, until cancelled."""
        if not self._store.is_shared:
            return
        look = 0
        while True:
            await asyncio.sleep(self._look_delay)
            look += 1
            try:
                await self.renew_lease()
                await self.check_instances()
                if look % CHECK_EVERY == 0:
                    await self.check_versions()
            except Unavailable as error:
                self._leases.start_over()
                self._report(error)
            else:
                self._is_troubled = False

    async def close(self) -> None:
        """Take the sessions of this process off all topics, at once; let go of connections."""
        for roster in self._rosters.values():
            for session in tuple(roster.local):
                roster.leave(session)
        try:
            await self.save()
            await self._leases.end()
        except Unavailable as error:
            self._report(error)
        if self._tell_timer is not None:
            self._tell_timer.cancel()
        await self._store.close()

    # One round of each

    def tell(self) -> None:
        """Tell the sessions of this process who came and who went; what is left, in a moment."""
        if self._tell_timer is not None:
            self._tell_timer.cancel()
            self._tell_timer = None
        began = thread_time()
        spent = 0.0
        while self._touched and spent < TELL_SECONDS:
            topic = next(iter(self._touched))
            self._touched.pop(topic).tell(spare=self._spare)
            spent = thread_time() - began
        self._tell_delay = spent / TELL_SHARE
        if self._touched:
            self._tell_timer = self._loop.call_later(self._tell_delay, self.tell)

    async def save(self) -> None:
        """Write what has changed and tell the others; raises Unavailable, and nothing is lost."""
        changes = [
            change
            for roster in tuple(self._rosters.values())
            if roster.is_unsaved
            for change in roster.take_changes(limit=BATCH_SESSIONS)
        ]
        parts = cut_changes(changes, size=BATCH_SESSIONS)
        try:
            while parts:  # all members first, the lease after them
                versions = await self._store.write(parts[0])
                written = parts.pop(0)
                for change, version in zip(written, versions, strict=True):
                    self._confirm(change, version)
                await self._send(written, versions)
            if not self._leases.has_own and any(r.local for r in self._rosters.values()):
                await self._leases.take()
        finally:
            for change in (change for part in parts for change in part):
                roster = self._rosters[change.topic]
                roster.put_back(change)
                if roster.version is None:
                    self._has_unread.set()

    async def read(self) -> None:
        """Read every roster whose version is not known; raises Unavailable."""
        unread = [roster for roster in self._rosters.values() if roster.version is None]
        for start in range(0, len(unread), READ_TOPICS):
            await self._read(unread[start : start + READ_TOPICS], known=self._find_others())

    async def renew_lease(self) -> None:
        """Stay alive; where the lease is lost, write everything anew. Raises Unavailable."""
        if await self._leases.renew():
            return
        logger.warning("the lease was lost: writing all members anew")
        for roster in self._rosters.values():
            roster.lose()
        self._has_unsaved.set()
        self._has_unread.set()

    async def check_instances(self) -> None:
        """Let the members of instances go that have had no lease for long; raises Unavailable."""
        for instance in await self._leases.find_dead(self._find_others()):
            await self._bury(instance)

    async def check_versions(self) -> None:
        """Find the rosters that missed something; raises Unavailable."""
        known = [roster for roster in self._rosters.values() if roster.version is not None]
        for start in range(0, len(known), CHECK_TOPICS):
            part = known[start : start + CHECK_TOPICS]
            asked = [roster.version for roster in part]
            versions = await self._store.read_versions([roster.topic for roster in part])
            for roster, before, version in zip(part, asked, versions, strict=True):
                if version != before and before == roster.version:
                    roster.version = None
                    self._has_unread.set()

    # Details

    def _find_others(self) -> set[str]:
        return {instance for roster in self._rosters.values() for instance in roster.others}

    async def _read(self, rosters: list[Roster], *, known: set[str]) -> None:
        for roster in rosters:
            roster.is_reading = True
        try:
            snapshots = await self._store.read(
                [roster.topic for roster in rosters], instances=known
            )
            for roster, snapshot in zip(rosters, snapshots, strict=True):
                # An instance that is about to take its lease, or dead: the next looks will show.
                self._leases.suspect(snapshot.absent - known - {self._instance})
                roster.take_snapshot(snapshot)
        finally:
            for roster in rosters:
                if roster.is_reading:
                    roster.end_reading()
                self._note_heard(roster)
                if roster.is_unsaved:
                    self._has_unsaved.set()
                if roster.version is None:
                    self._has_unread.set()
                self._drop_unused(roster)

    async def _bury(self, instance: str) -> None:
        is_told = not self._leases.is_suspect(instance)
        sessions = {}
        for roster in self._rosters.values():
            if gone := roster.drop(instance, is_told=is_told):
                sessions[roster.topic] = gone
                self._note_heard(roster)
        logger.warning(
            "an instance is gone, and its members with it",
            extra={"gone": instance, "members": sum(map(len, sessions.values()))},
        )
        await self._store.forget(instance, sessions)

    def _confirm(self, change: Change, version: int) -> None:
        roster = self._rosters[change.topic]
        roster.confirm(change, version=version)
        self._drop_unused(roster)

    async def _send(self, changes: list[Change], versions: list[int]) -> None:
        if not (self._store.is_shared and self._layer.is_shared):
            return
        try:
            async with asyncio.timeout(self._send_timeout):
                for change, version in zip(changes, versions, strict=True):
                    joined = {member.session: encode_member(member) for member in change.joined}
                    message = {
                        "type": MEMBERS,
                        "topic": str(change.topic),
                        "instance": self._instance,
                        "version": version,
                        "joined": joined,
                        "left": list(change.left),
                    }
                    await self._layer.send(change.topic.group, message)
        except (Unavailable, TimeoutError):
            # They find it by the versions.
            logger.warning("other instances will hear later who came and went")

    def _note_change(self, roster: Roster) -> None:
        self._note_heard(roster)
        if roster.is_unsaved:
            self._has_unsaved.set()

    def _note_heard(self, roster: Roster) -> None:
        self._touched[roster.topic] = roster
        if self._tell_timer is None:
            delay = max(BATCH_DELAY, self._tell_delay)
            self._tell_timer = self._loop.call_later(delay, self.tell)

    def _drop_unused(self, roster: Roster) -> None:
        if not roster.is_used and self._rosters.get(roster.topic) is roster:
            del self._rosters[roster.topic]

    async def _wait_for_store(self, error: Unavailable) -> None:
        self._report(error)
        await asyncio.sleep(RETRY_DELAY)

    def _report(self, error: Unavailable) -> None:
        if not self._is_troubled:
            self._is_troubled = True
            logger.warning("presence is not up to date: %s", quote(error))
