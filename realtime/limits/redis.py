"""The counts of connections of all instances in Redis: a hash for each instance.

<base>:{limits}              the names of the instances that have counts
<base>:{limits}:<instance>   subject → count; the field "" is the number of its last call. It lives
                             as long as its instance renews it, and its counts go with it.

<base> is the deployment's: see `realtime.redis_address.build_base`.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError

from realtime.conf import Settings
from realtime.core.errors import Unavailable
from realtime.redis_address import build_base, make_pool

# A subject, and how many connections it may have on all instances.
Claim: TypeAlias = tuple[str, int]

_COUNT = (Path(__file__).parent / "count.lua").read_text()


class RedisCounts:
    """The counts of one instance, and what they come to with those of the others."""

    def __init__(self, settings: Settings, *, instance: str) -> None:
        self._timeout = settings.history_timeout
        self._lease_ms = max(1, round(settings.lease_seconds * 1000))
        self._instance = instance
        self._instances = f"{build_base(settings.prefix, settings.redis_url)}:{{limits}}"
        self._key = f"{self._instances}:{instance}"
        self._calls = 0
        self._pool = make_pool(
            settings.redis_url,
            blocking=True,
            max_connections=2,
            timeout=self._timeout,
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            # A repeated call that had been done already finds another number than it expects.
            retry=Retry(NoBackoff(), 1),
        )
        self._client = Redis(connection_pool=self._pool)
        self._script = self._client.register_script(_COUNT)

    async def count(
        self, counts: Mapping[str, int], asked: Sequence[Sequence[Claim]], *, is_anew: bool
    ) -> list[str | None] | None:
        """Write counts of this instance, ask for connections, renew the lease, in one step.

        `is_anew`: forget what this instance has written before. Each connection asked for is
        counted, unless a subject of it has its most already; that one is returned for it, else
        None. Returns None where the store no longer knows what was written before: nothing was
        done then. Raises Unavailable, and then it may or may not have been done.
        """
        before = "" if is_anew else self._calls
        self._calls += 1
        arguments: list[str | int] = [self._instance, self._lease_ms, before, self._calls]
        arguments.append(len(counts))
        for subject, count in counts.items():
            arguments += (subject, count)
        for claims in asked:
            arguments.append(len(claims))
            for subject, most in claims:
                arguments += (subject, most)
        reply = await self._call(self._script(keys=[self._instances, self._key], args=arguments))
        if reply is None:
            return None
        return [
            claims[over - 1][0] if over else None for claims, over in zip(asked, reply, strict=True)
        ]

    async def end(self) -> None:
        """Take all counts of this instance back; raises Unavailable."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.unlink(self._key)
        pipeline.srem(self._instances, self._instance)
        await self._call(pipeline.execute())

    async def close(self) -> None:
        await self._pool.aclose()

    async def _call(self, operation: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                return await operation
        except (RedisError, OSError, TimeoutError) as error:
            if isinstance(error, ReadOnlyError):
                # No longer the primary; the address may name another by now.
                await self._pool.disconnect(inuse_connections=False)
            raise Unavailable("the connections of all instances cannot be counted now") from error
