"""This process's one channel on the channel layer, with errors in our own words.

The layer is the fast path between processes; it may lose, repeat or reorder what it carries.
"""

import asyncio
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import RedisError

from realtime.conf import Settings
from realtime.core.errors import Unavailable

# Between attempts to join a group, in seconds.
RETRY_DELAY = 0.1


class Layer:
    """The channel layer, joined by one channel for the whole process."""

    def __init__(self, settings: Settings) -> None:
        layer = get_channel_layer(settings.channel_layer)
        if layer is None:
            raise ImproperlyConfigured(
                f"CHANNEL_LAYERS has no {settings.channel_layer!r}, which REALTIME names"
            )
        self._layer = layer
        self._timeout = settings.history_timeout
        self._channel: str | None = None
        self._opening = asyncio.Lock()
        # Whether other processes can be reached through it.
        self.is_shared = not isinstance(layer, InMemoryChannelLayer)

    async def join(self, group: str) -> None:
        """Hear a group from now on; raises Unavailable.

        After an outage the layer takes a second to connect again: whoever comes then waits.
        """
        await self._call(self._join(group))

    async def leave(self, group: str) -> None:
        """Hear a group no longer; raises Unavailable."""
        if self._channel is not None:
            await self._call(self._layer.group_discard(group, self._channel))

    async def send(self, group: str, message: dict[str, Any]) -> None:
        """Send to every process that joined the group; raises Unavailable."""
        await self._call(self._layer.group_send(group, message))

    async def receive(self) -> dict[str, Any]:
        """The next message of any group that was joined; raises Unavailable."""
        try:
            message: dict[str, Any] = await self._layer.receive(await self._open())
        except (RedisError, OSError) as error:
            raise _unavailable() from error
        return message

    async def close(self) -> None:
        """Let go of connections."""
        if self.is_shared:
            await self._layer.flush()

    async def _join(self, group: str) -> None:
        while True:
            try:
                await self._layer.group_add(group, await self._open())
            except (RedisError, OSError):
                await asyncio.sleep(RETRY_DELAY)
            else:
                return

    async def _open(self) -> str:
        async with self._opening:  # those who receive and those who join share one channel
            if self._channel is None:
                self._channel = await self._layer.new_channel()
        return self._channel

    async def _call(self, operation: Any) -> None:
        # During an outage the layer's own retries would hold the caller for many seconds.
        try:
            async with asyncio.timeout(self._timeout):
                await operation
        except (RedisError, OSError, TimeoutError) as error:
            raise _unavailable() from error


def _unavailable() -> Unavailable:
    return Unavailable("other processes cannot be reached now; try again in a moment")
