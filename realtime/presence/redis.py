"""Presence in Redis: a hash of members for each topic, and a lease for each instance.

<base>:{<topic>}:members   session → msgpack [instance, user, since]; the field "" is the version
<base>:lease:<instance>    there while the instance renews it

<base> is the deployment's: see `realtime.redis_address.build_base`.
"""

import asyncio
from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from realtime.conf import Settings
from realtime.core.errors import Unavailable
from realtime.core.topics import Topic
from realtime.presence.base import (
    Change,
    Member,
    Presence,
    Snapshot,
    begin_version,
    decode_member,
    encode_member,
)
from realtime.redis_address import build_base, make_pool

# A lease lives this part of the setting: its instance is missed for a while before it counts as
# dead (see `realtime.rosters`), and both together stay below the setting.
LEASE_SHARE = 0.5
# Members that nobody asks about any more go after this many seconds.
KEEP_SECONDS = 3600

_VERSION = b""
_VERSIONS = """
local versions = {}
for index, key in ipairs(KEYS) do
  versions[index] = redis.call('HGET', key, '') or 0
  redis.call('EXPIRE', key, ARGV[1])
end
return versions
"""
# In one step with the look at the lease: an instance that is back may have written them anew.
_FORGET = """
if redis.call('EXISTS', KEYS[1]) == 0 and redis.call('HDEL', KEYS[2], unpack(ARGV)) > 0 then
  redis.call('HINCRBY', KEYS[2], '', 1)
end
"""
# Lua's unpack() takes some thousand values.
FORGET_SLICE = 1000


class RedisPresence(Presence):
    """Any instance that has the same Redis sees the same members."""

    is_shared = True

    def __init__(self, settings: Settings, *, instance: str) -> None:
        self._timeout = settings.history_timeout
        self._lease_ms = max(1, round(settings.lease_seconds * LEASE_SHARE * 1000))
        self._base = build_base(settings.prefix, settings.redis_url)
        self._lease = self._lease_key(instance)
        # Calls wait for one of its connections, and may be repeated.
        self._pool = make_pool(
            settings.redis_url,
            blocking=True,
            max_connections=8,
            timeout=self._timeout,
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            retry=Retry(NoBackoff(), 1),
        )
        self._client = Redis(connection_pool=self._pool)

    async def write(self, changes: Sequence[Change]) -> list[int]:
        pipeline = self._client.pipeline(transaction=True)
        places = []
        count = 0
        for change in changes:
            key = self._members_key(change.topic)
            if change.joined:
                fields = {member.session: encode_member(member) for member in change.joined}
                pipeline.hset(key, mapping=fields)
            if change.left:
                pipeline.hdel(key, *change.left)
            count += bool(change.joined) + bool(change.left) + 1
            places.append(count)
            pipeline.hsetnx(key, _VERSION, begin_version())
            pipeline.hincrby(key, _VERSION, 1)
            pipeline.expire(key, KEEP_SECONDS)
            count += 2
        replies = await self._call(pipeline.execute())
        return [int(replies[place]) for place in places]

    async def read(
        self, topics: Sequence[Topic], *, instances: Collection[str] = ()
    ) -> list[Snapshot]:
        asked = list(instances)
        # One transaction: an instance that has a lease at this moment has its members in it.
        pipeline = self._client.pipeline(transaction=True)
        for topic in topics:
            pipeline.hgetall(self._members_key(topic))
        for instance in asked:
            pipeline.exists(self._lease_key(instance))
        replies = await self._call(pipeline.execute())
        leases = dict(zip(asked, replies[len(topics) :], strict=True))
        absent = {instance for instance, lease in leases.items() if not lease}
        found = [_read_hash(reply) for reply in replies[: len(topics)]]
        others = {member.instance for _, members in found for member in members} - set(asked)
        absent |= others - await self.find_alive(others)
        return [Snapshot(version, members, frozenset(absent)) for version, members in found]

    async def read_versions(self, topics: Sequence[Topic]) -> list[int]:
        if not topics:
            return []
        keys = [self._members_key(topic) for topic in topics]
        replies = await self._call(self._client.eval(_VERSIONS, len(keys), *keys, KEEP_SECONDS))
        return [int(reply) for reply in replies]

    async def take_lease(self) -> None:
        await self._call(self._client.set(self._lease, b"", px=self._lease_ms))

    async def renew_lease(self) -> bool:
        return bool(await self._call(self._client.pexpire(self._lease, self._lease_ms)))

    async def end_lease(self) -> None:
        await self._call(self._client.delete(self._lease))

    async def find_alive(self, instances: Collection[str]) -> set[str]:
        asked = list(instances)
        if not asked:
            return set()
        leases = await self._call(
            self._client.mget([self._lease_key(instance) for instance in asked])
        )
        return {
            instance for instance, lease in zip(asked, leases, strict=True) if lease is not None
        }

    async def forget(self, instance: str, sessions: Mapping[Topic, Collection[str]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for topic, gone in sessions.items():
            names = list(gone)
            for start in range(0, len(names), FORGET_SLICE):
                part = names[start : start + FORGET_SLICE]
                pipeline.eval(
                    _FORGET, 2, self._lease_key(instance), self._members_key(topic), *part
                )
        await self._call(pipeline.execute())

    async def close(self) -> None:
        await self._pool.aclose()

    def _members_key(self, topic: Topic) -> str:
        return f"{self._base}:{{{topic}}}:members"

    def _lease_key(self, instance: str) -> str:
        return f"{self._base}:lease:{instance}"

    async def _call(self, operation: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                return await operation
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(
                "who is on a topic is not known now; try again in a moment"
            ) from error


def _read_hash(fields: dict[bytes, bytes]) -> tuple[int, list[Member]]:
    version = int(fields.pop(_VERSION, 0))
    return version, [decode_member(session.decode(), data) for session, data in fields.items()]
