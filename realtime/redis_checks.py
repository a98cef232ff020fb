"""System checks of Redis: whether it answers, is of the right kind, and lets us do our work.

What the server needs of Redis is tried, each part by the code that needs it, with names that no
client can use.
"""

import asyncio
import uuid
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Info, Warning
from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import RedisError

from realtime.conf import Settings
from realtime.core.errors import Unavailable
from realtime.core.topics import Topic
from realtime.history import Accepted, Batch, Item
from realtime.history.redis import RedisHistory
from realtime.limits.redis import RedisCounts
from realtime.presence import Change
from realtime.presence.redis import RedisPresence
from realtime.pulse import NAMESPACE, OPTIONS
from realtime.redis_address import FORMS, build_base, parse_address, ping
from realtime.redis_errors import quote
from realtime.redis_server import RedisServer

TIMEOUT = 2.0
# Stands where an instance has its own name.
CHECK = "check"


def check_redis(settings: Settings) -> list[CheckMessage]:
    """All about REDIS_URL; nothing where it is empty."""
    if not settings.redis_url:
        return []
    try:
        parse_address(settings.redis_url)
    except ImproperlyConfigured as error:
        return [Error(str(error), hint=f"Write REDIS_URL as {FORMS}.", id="realtime.E007")]
    try:
        build_base(settings.prefix, settings.redis_url)
    except ImproperlyConfigured as error:
        return [
            Error(
                str(error),
                hint="Leave it empty: then it is made from SECRET_KEY.",
                id="realtime.E011",
            )
        ]
    return [*_check_layer_prefix(settings), *asyncio.run(_check_server(settings))]


def _check_layer_prefix(settings: Settings) -> list[CheckMessage]:
    layer = getattr(django_settings, "CHANNEL_LAYERS", {}).get(settings.channel_layer, {})
    if not str(layer.get("BACKEND", "")).startswith("channels_redis."):
        return []
    prefix = layer.get("CONFIG", {}).get("prefix", "asgi")
    base = build_base(settings.prefix, settings.redis_url)
    if prefix == base:
        return []
    return [
        Warning(
            f"The channels of the channel layer {settings.channel_layer!r} begin with {prefix!r}, "
            "as those of another deployment on this Redis can, whatever number its database has.",
            hint=f"Set CHANNEL_LAYERS[{settings.channel_layer!r}]['CONFIG']['prefix'] to {base!r}.",
            id="realtime.W003",
        )
    ]


async def _check_server(settings: Settings) -> list[CheckMessage]:
    try:
        await ping(settings.redis_url, within=TIMEOUT)
    except (RedisError, OSError) as error:
        # A warning, so that migrations and the like still run; the server refuses to start.
        return [
            Warning(
                f"Redis does not answer: {quote(error)}",
                hint="Start Redis at the address in REDIS_URL, or mend that address; without "
                "REDIS_URL the server keeps everything in the memory of one process.",
                id="realtime.W001",
            )
        ]
    server = RedisServer(settings)
    try:
        kind = await server.read_kind()
        if kind.misfit:
            return [
                Error(
                    f"What REDIS_URL names cannot be used: {kind.misfit}.",
                    hint="Name a single Redis from 6.2 on, or one behind Sentinel as "
                    "redis+sentinel://host:26379/0?sentinel_master_name=mymaster.",
                    id="realtime.E010",
                )
            ]
        if kind.is_replica:
            return [
                Warning(
                    "REDIS_URL names a replica: what is published there is heard nowhere else.",
                    hint="Name the primary, or the sentinels that know it.",
                    id="realtime.W004",
                )
            ]
        refusal = await _find_refusal(settings, server)
        if refusal:
            return [
                Warning(
                    f"Redis refuses what the server needs: {refusal}",
                    hint='docs/delivery.md, "What to set up", has the rights that a user of Redis '
                    "needs, and what else Redis has to be told.",
                    id="realtime.W002",
                )
            ]
        return [
            Info(fault, hint='docs/delivery.md, "What to set up", says why.', id="realtime.I002")
            for fault in await server.find_faults()
        ]
    except (RedisError, OSError) as error:
        return [
            Warning(
                f"Redis cannot be looked at: {quote(error)}",
                hint="See whether it is overloaded, or is being restarted.",
                id="realtime.W001",
            )
        ]


async def _find_refusal(settings: Settings, server: RedisServer) -> str:
    """What Redis says where it refuses something that the server does; empty if nothing."""
    history = RedisHistory(settings)
    presence = RedisPresence(settings, instance=CHECK)
    counts = RedisCounts(settings, instance=CHECK)
    try:
        await _try_history(history, server)
        await _try_presence(presence)
        await counts.count({}, [[("check", 1)]], is_anew=True)
        await counts.end()
        await server.claim_names()
    except (Unavailable, RedisError, OSError) as error:
        return quote(error)
    finally:
        for store in (history, presence, counts):
            await store.close()
    return ""


async def _try_history(history: RedisHistory, server: RedisServer) -> None:
    """Publish, hear and read; raises Unavailable or RedisError."""
    topic = Topic(NAMESPACE, CHECK)
    result: Any
    # With an id, a new one: what is known already would be neither written nor announced.
    item = Item(b"", uuid.uuid4().hex, publisher=str(topic))
    (result,) = await history.append([Batch(topic, OPTIONS, [item])])
    if not isinstance(result, Accepted):
        raise result
    if result.unannounced:
        raise RedisError(result.unannounced)
    if history.group_prefix is not None:
        await server.try_subscribing(history.group_prefix + topic.group)
    await history.read(topic, after=0, limit=1)
    await history.read_tops([topic])
    await history.measure([topic])
    await history.renew_epoch(topic, lost="")
    await history.count_quotas()


async def _try_presence(presence: RedisPresence) -> None:
    """Come and go; raises Unavailable."""
    topic = Topic(NAMESPACE, CHECK)
    await presence.take_lease()
    await presence.renew_lease()
    await presence.write([Change(topic, (), ("check",))])
    await presence.read([topic])
    await presence.read_versions([topic])
    await presence.find_alive([CHECK])
    await presence.end_lease()
    await presence.forget(CHECK, {topic: ["check"]})
