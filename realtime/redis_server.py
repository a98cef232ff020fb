"""The Redis at an address as a server: of which kind it is, and how it is set up."""

import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from realtime.conf import MIB, Settings
from realtime.redis_address import build_base, make_pool

# XTRIM MINID came with it.
OLDEST = (6, 2)
# What a subscriber may leave waiting: a moment of many topics has to fit.
LEAST_PUBSUB_BYTES = 8 * MIB
BUFFER_LIMIT = "client-output-buffer-limit"
# A deployment that is gone gives its names up after so many seconds.
CLAIM_SECONDS = 45

_CLAIM = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a server says of itself: `mode` is standalone, cluster or sentinel."""

    mode: str = "standalone"
    role: str = "master"
    version: str = ""

    @property
    def misfit(self) -> str:
        """Why the project cannot run on it at all; empty where it can."""
        if self.mode == "cluster":
            return "it is a Redis Cluster, which is not supported"
        if self.mode == "sentinel":
            return "it is a Sentinel, and the address is that of a Redis"
        if self.version and _read_version(self.version) < OLDEST:
            return f"it is Redis {self.version}, and at least 6.2 is needed"
        return ""

    @property
    def is_replica(self) -> bool:
        return self.role in ("replica", "slave")


class RedisServer:
    """Asks a server about itself. Errors are redis-py's, or OSError.

    Each question has a connection of its own: one that was kept may lead to a server which hangs,
    while the address names another by now.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._base = build_base(settings.prefix, settings.redis_url)

    async def read_kind(self) -> Kind:
        """Of which kind it is."""
        async with self._connect() as client:
            try:
                reply = await client.execute_command("HELLO")
            except ResponseError as error:
                if "unknown command" in str(error):
                    return Kind(version="5 or older")
                return Kind()  # it does not tell us; what does not work will show
        if not isinstance(reply, Mapping):
            reply = dict(zip(reply[::2], reply[1::2], strict=True))
        found = {_decode(name): _decode(value) for name, value in reply.items()}
        return Kind(found.get("mode", ""), found.get("role", ""), found.get("version", ""))

    async def try_subscribing(self, channel: str) -> None:
        """Subscribe to a channel and end that again; raises NoPermissionError."""
        async with self._connect() as client, client.pubsub() as pubsub:
            for ask in (pubsub.subscribe, pubsub.unsubscribe):
                await ask(channel)
                await pubsub.get_message(timeout=self._settings.history_timeout)

    async def claim_names(self) -> bool:
        """Whether no other deployment uses the same names; then they are ours for a while."""
        key = f"{self._base}:deployment"
        async with self._connect() as client:
            return bool(await client.eval(_CLAIM, 1, key, build_fingerprint(), CLAIM_SECONDS))

    async def find_faults(self) -> list[str]:
        """What is set up so that it will do harm, as sentences with the mend.

        A server that does not let us look has none.
        """
        async with self._connect() as client:
            memory = await _look(client.info, "memory")
            limits = await _look(client.config_get, BUFFER_LIMIT)
        faults = []
        policy = memory.get("maxmemory_policy", "noeviction")
        most = int(memory.get("maxmemory", 0))
        if most and policy != "noeviction":
            faults.append(
                f"Redis throws histories away when it is full (maxmemory-policy {policy}): set "
                "maxmemory-policy noeviction."
            )
        if most and int(memory.get("used_memory", 0)) > 0.9 * most:
            faults.append(
                "Redis uses more than nine tenths of its maxmemory, and refuses to publish when "
                "it is full: raise maxmemory, or lower history_size, history_bytes and "
                "history_ttl of namespaces."
            )
        words = limits.get(BUFFER_LIMIT, "").split()
        if "pubsub" in words:
            hard = int(words[words.index("pubsub") + 1])
            if 0 < hard < LEAST_PUBSUB_BYTES:
                faults.append(
                    f"Redis cuts a subscriber with {hard} bytes waiting: set "
                    "client-output-buffer-limit pubsub to 32mb 8mb 60."
                )
        return faults

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Redis]:
        timeout = self._settings.history_timeout
        pool = make_pool(
            self._settings.redis_url,
            blocking=False,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            yield Redis(connection_pool=pool)
        finally:
            await pool.aclose()


def build_fingerprint() -> str:
    """What tells this deployment from another one: its secret and the name of its database."""
    database = django_settings.DATABASES.get("default", {})
    text = f"realtime.deployment {database.get('ENGINE')} {database.get('NAME')}"
    key = str(django_settings.SECRET_KEY).encode()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:16]


async def _look(read: Any, section: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = await read(section)
    except ResponseError:  # an ACL, or a command that was renamed away
        return {}
    return {_decode(name): _decode(value) for name, value in found.items()}


def _read_version(text: str) -> tuple[int, ...]:
    parts = text.split(".")[:2]
    return tuple(int(part) for part in parts) if all(map(str.isdecimal, parts)) else (0,)


def _decode(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
