"""The history in Redis: one stream per topic, written by one script.

The script also publishes the batch to the topic's group, in the channel layer's own format, so
that nothing overtakes and nothing is accepted without being announced. Appends go, pipelined,
over one connection of their own: they have an order, a deadline, and no silent retry (redis-py's
default would make two copies of one publication).
"""

import asyncio
import os
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer
from channels_redis.serializers import MsgPackSerializer
from redis.asyncio import Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from realtime.conf import Settings
from realtime.core.errors import RateLimited, Refused, Unavailable
from realtime.core.positions import MARK_BYTES
from realtime.core.topics import Topic
from realtime.history.base import (
    HEAD_BYTES,
    ID_MEMORY,
    LONGEST_CARRIED,
    NO_EPOCH,
    PAGE_BYTES,
    PUBLICATIONS,
    Accepted,
    Batch,
    History,
    Page,
    Size,
    Top,
)
from realtime.history.quotas import Quotas
from realtime.redis_address import build_base, is_same_redis, make_pool
from realtime.redis_errors import find_refusal

# A topic that somebody holds, and to which nobody has published, keeps its epoch at least this
# many seconds. Holding is renewed within seconds; what was held is soon forgotten.
HOLD_SECONDS = 600
# A connection that was not used for so long is looked at before it is used again.
IDLE_SECONDS = 0.5

_FOLDER = Path(__file__).parent
_APPEND = (_FOLDER / "append.lua").read_bytes()
_READ = (_FOLDER / "read.lua").read_text()
_TOPS = (_FOLDER / "tops.lua").read_text()
_SIZES = (_FOLDER / "sizes.lua").read_text()
_RENEW = (_FOLDER / "renew.lua").read_text()
_QUOTAS = (_FOLDER / "quotas.lua").read_text()


class RedisHistory(History):
    """Streams and scripts; any instance that has the same Redis sees the same history."""

    is_remote = True

    def __init__(self, settings: Settings) -> None:
        self._timeout = settings.history_timeout
        self._base = build_base(settings.prefix, settings.redis_url)
        self.group_prefix = find_group_prefix(settings)
        self.announces = self.group_prefix is not None
        self._append_pool = make_pool(
            settings.redis_url,
            blocking=False,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=self._timeout,
        )
        self._connection: Connection | None = None
        self._used_at = 0.0
        self._lock = asyncio.Lock()
        self._has_sent = False  # whether anything of the present call left for Redis
        self._script_hash = b""
        pool = make_pool(
            settings.redis_url,
            blocking=True,
            max_connections=8,
            timeout=self._timeout,
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            retry=Retry(NoBackoff(), 1),  # reads may be repeated
        )
        self._client = Redis(connection_pool=pool)
        self._read_script = self._client.register_script(_READ)
        self._tops_script = self._client.register_script(_TOPS)
        self._sizes_script = self._client.register_script(_SIZES)
        self._renew_script = self._client.register_script(_RENEW)
        self._quotas_script = self._client.register_script(_QUOTAS)
        self._quotas = Quotas(settings, name_key=self._name_quota, run=self._count)
        self.exhausted = self._quotas.exhausted

    async def append(self, batches: Sequence[Batch]) -> list[Accepted | Unavailable]:
        commands = [self._build_append(batch) for batch in batches]
        async with self._lock:
            self._has_sent = False
            try:
                async with asyncio.timeout(self._timeout):
                    replies = await self._call_scripts(commands)
            except (RedisError, OSError, TimeoutError) as error:
                await self._drop_connection()
                build = _build_unconfirmed if self._has_sent else _build_refused
                return [build(error)] * len(batches)
            except BaseException:
                # Cancelled in between: the replies that are still to come belong to nobody.
                await self._drop_connection()
                raise
            if any(isinstance(reply, ReadOnlyError) for reply in replies):
                # No longer the primary; the address may name another by now.
                await self._drop_connection()
                await self._client.connection_pool.disconnect(inuse_connections=False)
        results = [_read_append(reply) for reply in replies]
        if self._quotas.is_on:
            for batch, result in zip(batches, results, strict=True):
                if isinstance(result, Accepted):
                    self._quotas.note(batch, result)
        return results

    def find_refusal(self, publisher: str, topic: Topic) -> RateLimited | None:
        return self._quotas.find_refusal(publisher, topic)

    async def count_quotas(self) -> None:
        """Count at once what publishers take, and not some time later; raises Unavailable."""
        await self._quotas.tell()

    async def read(self, topic: Topic, *, after: int, limit: int, is_held: bool = False) -> Page:
        epoch, hold = (_new_epoch(), HOLD_SECONDS) if is_held else (NO_EPOCH, 0)
        return await self._read(topic, epoch, after, limit, PAGE_BYTES, hold, 0)

    async def read_heads(self, topic: Topic, *, after: int, limit: int) -> Page:
        return await self._read(topic, NO_EPOCH, after, limit, PAGE_BYTES, 0, HEAD_BYTES)

    async def read_tops(self, topics: Sequence[Topic]) -> list[Top]:
        keys = [self._key(topic, "meta") for topic in topics]
        reply = await self._run(self._tops_script, keys, [_new_epoch(), HOLD_SECONDS])
        return [
            Top(epoch.decode(), int(top), mark)
            for epoch, top, mark in zip(reply[::3], reply[1::3], reply[2::3], strict=True)
        ]

    async def measure(self, topics: Sequence[Topic]) -> list[Size]:
        keys = [self._key(topic, part) for topic in topics for part in ("meta", "log")]
        reply = await self._run(self._sizes_script, keys, [])
        return [Size(*map(int, pair)) for pair in zip(reply[::2], reply[1::2], strict=True)]

    async def renew_epoch(self, topic: Topic, *, lost: str) -> None:
        keys = [self._key(topic, "meta"), self._key(topic, "log")]
        await self._run(self._renew_script, keys, [lost, _new_epoch()])

    async def close(self) -> None:
        await self._quotas.close()
        await self._drop_connection()
        for pool in (self._append_pool, self._client.connection_pool):
            await pool.aclose()

    def _key(self, topic: Topic, part: str) -> str:
        # The braces keep a topic's keys in one slot of a cluster.
        return f"{self._base}:{{{topic}}}:{part}"

    def _name_quota(self, publisher: str) -> str:
        # No topic has a space in it.
        return f"{self._base}:{{{publisher}}}"

    async def _read(self, topic: Topic, *arguments: str | int) -> Page:
        keys = [self._key(topic, "meta"), self._key(topic, "log")]
        reply = await self._run(self._read_script, keys, list(arguments))
        epoch, first, top, mark, start, *rows = reply
        bodies, links = rows[::2], rows[1::2]
        return Page(epoch.decode(), int(first), int(top), int(start), bodies, links, mark)

    async def _count(self, keys: list[str], arguments: list[Any]) -> Any:
        return await self._run(self._quotas_script, keys, arguments)

    async def _run(self, script: Any, keys: list[str], arguments: list[Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                return await script(keys=keys, args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            if isinstance(error, ReadOnlyError):
                await self._client.connection_pool.disconnect(inuse_connections=False)
            refusal = find_refusal(error)
            reason = refusal.reason if refusal else "it does not answer now"
            raise Unavailable(
                f"the history cannot be read: {reason}; try again in a moment"
            ) from error

    def _build_append(self, batch: Batch) -> list[Any]:
        topic, namespace = batch.topic, batch.namespace
        channel = f"{self.group_prefix}{topic.group}" if self.announces else ""
        arguments: list[Any] = [
            _new_epoch(),
            namespace.history_size,
            namespace.history_bytes,
            namespace.history_ttl,
            ID_MEMORY,
            channel,
            build_message_head(topic, type=batch.type),
            LONGEST_CARRIED,
            batch.known.epoch if batch.known else "",
            batch.known.offset if batch.known else 0,
            os.urandom(MARK_BYTES),
        ]
        for item in batch.items:
            arguments += (item.id or "", item.body)
        keys = [self._key(topic, "meta"), self._key(topic, "log"), self._key(topic, "ids:")]
        return [len(keys), *keys, *arguments]

    async def _call_scripts(self, commands: Sequence[list[Any]]) -> list[Any]:
        replies = await self._pipeline(commands)
        again = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if again:  # a script that is not known has not run: loading it and repeating is safe
            await self._load_script(await self._connect())
            for index, reply in zip(
                again, await self._pipeline([commands[i] for i in again]), strict=True
            ):
                replies[index] = reply
        return replies

    async def _pipeline(self, commands: Sequence[list[Any]]) -> list[Any]:
        connection = await self._connect()
        packed = connection.pack_commands(
            [("EVALSHA", self._script_hash, *command) for command in commands]
        )
        self._has_sent = True
        await connection.send_packed_command(packed)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as error:
                replies.append(error)
        return replies

    async def _connect(self) -> Connection:
        if self._connection is not None and await self._is_stale(self._connection):
            await self._drop_connection()
        self._used_at = time.monotonic()
        if self._connection is None:
            connection = self._append_pool.make_connection()
            try:
                await connection.connect()
                await self._load_script(connection)
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            self._connection = connection
        return self._connection

    async def _is_stale(self, connection: Connection) -> bool:
        """Whether Redis has closed a connection that was idle: nothing shall be sent on it then."""
        if time.monotonic() - self._used_at < IDLE_SECONDS:
            return False
        try:
            # What is there to read belongs to no call of ours: the end of the stream, or worse.
            return bool(await connection.can_read())
        except (RedisError, OSError):
            return True

    async def _load_script(self, connection: Connection) -> None:
        await connection.send_command("SCRIPT", "LOAD", _APPEND)
        self._script_hash = await connection.read_response()

    async def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


def find_group_prefix(settings: Settings) -> str | None:
    """What the channel layer puts before a group's name, where the script may publish for it.

    None where the layer is not the plain pubsub one on this history's Redis: another backend,
    several hosts, encryption, another serialiser. Then batches go through `group_send`.
    """
    layer = get_channel_layer(settings.channel_layer)
    if not isinstance(layer, RedisPubSubChannelLayer):
        return None
    options = layer._kwargs
    (host,) = options["hosts"] if len(options.get("hosts", ())) == 1 else (None,)
    serializer = layer._serializer
    plain = type(serializer) is MsgPackSerializer and serializer.crypter is None
    if not is_same_redis(host, settings.redis_url) or not plain:
        return None
    return f"{options.get('prefix', 'asgi')}__group__"


def build_message_head(topic: Topic, *, type: str = PUBLICATIONS) -> bytes:
    """The beginning of a batch message in msgpack; the script adds the five fields left."""
    return b"\x87" + b"".join(
        msgspec.msgpack.encode(part) for part in ("type", type, "topic", str(topic))
    )


def _new_epoch() -> str:
    return uuid.uuid4().hex[:12]


def _read_append(reply: Any) -> Accepted | Unavailable:
    if isinstance(reply, Exception):
        refusal = find_refusal(reply)
        is_refused = refusal is not None and refusal.is_certain
        return _build_refused(reply) if is_refused else _build_unconfirmed(reply)
    epoch, first, link, retained, unannounced, *offsets = reply
    numbers = [int(offset) for offset in offsets]
    duplicates = frozenset(index for index, offset in enumerate(numbers) if offset < 0)
    return Accepted(
        epoch.decode(),
        [abs(offset) for offset in numbers],
        duplicates,
        int(first),
        link,
        int(retained),
        unannounced.decode(),
    )


def _build_refused(error: BaseException) -> Unavailable:
    refusal = find_refusal(error)
    reason = refusal.reason if refusal else "the history cannot be reached"
    refused = Refused(f"it was not published: {reason}; repeat it later with the same id")
    refused.__cause__ = error
    return refused


def _build_unconfirmed(error: BaseException) -> Unavailable:
    refusal = find_refusal(error)
    reason = refusal.reason if refusal else "the history did not confirm in time"
    unavailable = Unavailable(
        f"{reason}; it may or may not have been published: repeat with the same id"
    )
    unavailable.__cause__ = error
    return unavailable
