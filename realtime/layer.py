"""This process's one channel on the channel layer, with errors in our own words.

The layer is the fast path between processes; it may lose, repeat or reorder what it carries.
"""

import asyncio
from typing import Any

from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer
from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import RedisError

from realtime.conf import Settings
from realtime.core.errors import Unavailable
from realtime.redis_errors import find_refusal

# Between attempts to join a group, in seconds.
RETRY_DELAY = 0.1
# Groups that are joined in one go, before others get their turn.
JOIN_SLICE = 100
# How long the other side of a connection gets to take its end, in seconds.
FLUSH_SECONDS = 1.0
# How long closing and opening may take in all; then whoever receives opens it.
REOPEN_SECONDS = 10.0


class Layer:
    """The channel layer, joined by one channel for the whole process."""

    def __init__(self, settings: Settings) -> None:
        layer = get_channel_layer(settings.channel_layer)
        if layer is None:
            raise ImproperlyConfigured(
                f"CHANNEL_LAYERS has no {settings.channel_layer!r}, which REALTIME names"
            )
        # Whether other processes can be reached through it.
        self.is_shared = not isinstance(layer, InMemoryChannelLayer)
        # With connections of its own: other consumers of the project keep theirs when these are
        # closed and opened again.
        self._layer = (
            channel_layers.make_backend(settings.channel_layer) if self.is_shared else layer
        )
        # How many messages have come.
        self.received = 0
        self._timeout = settings.history_timeout
        self._channel: str | None = None
        self._groups: set[str] = set()
        self._lock = asyncio.Lock()  # who opens the channel, joins and leaves
        self._receiver: asyncio.Task[Any] | None = None  # while it waits for a message
        self._has_moved = False  # it is to wait on another channel

    async def join(self, group: str) -> None:
        """Hear a group from now on; raises Unavailable.

        After an outage the layer takes a second to connect again: whoever comes then waits.
        """
        self._groups.add(group)
        await self._call(self._join(group))

    async def leave(self, group: str) -> None:
        """Hear a group no longer; raises Unavailable."""
        self._groups.discard(group)
        if self._channel is not None:
            await self._call(self._leave(group))

    async def send(self, group: str, message: dict[str, Any]) -> None:
        """Send to every process that joined the group; raises Unavailable."""
        await self._call(self._layer.group_send(group, message))

    async def receive(self) -> dict[str, Any]:
        """The next message of any group that was joined; raises Unavailable."""
        while True:
            try:
                channel = self._channel or await self._open()
                self._receiver = asyncio.current_task()
                message: dict[str, Any] = await self._layer.receive(channel)
            except (RedisError, OSError) as error:
                raise _unavailable(error) from error
            except asyncio.CancelledError:
                receiver = self._receiver
                if receiver is None or not self._has_moved:
                    raise
                self._has_moved = False
                if receiver.uncancel():  # somebody else means it
                    raise
            else:
                self.received += 1
                return message
            finally:
                self._receiver = None

    async def reopen(self) -> None:
        """Close the connections and join all groups on new ones; raises Unavailable.

        For a connection that has gone silent and does not say so. What it still brought is lost.
        """
        try:
            async with asyncio.timeout(REOPEN_SECONDS):
                await self._close()
                await self._open()
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error

    async def close(self) -> None:
        """Let go of connections."""
        if self.is_shared:
            await self._flush()

    async def _join(self, group: str) -> None:
        while True:
            try:
                channel = self._channel or await self._open()
                async with self._lock:
                    if channel == self._channel:
                        await self._layer.group_add(group, channel)
                        return
            except (RedisError, OSError):
                await asyncio.sleep(RETRY_DELAY)

    async def _leave(self, group: str) -> None:
        async with self._lock:
            if self._channel is not None:
                await self._layer.group_discard(group, self._channel)

    async def _open(self) -> str:
        async with self._lock:  # those who receive and those who join share one channel
            if self._channel is None:
                try:
                    self._channel = await self._subscribe()
                except BaseException:
                    if self.is_shared:
                        await self._flush()  # what was begun is of no use
                    raise
            return self._channel

    async def _subscribe(self) -> str:
        """A new channel in all groups."""
        async with asyncio.timeout(self._timeout):
            channel: str = await self._layer.new_channel()
        groups = tuple(self._groups)
        for start in range(0, len(groups), JOIN_SLICE):
            async with asyncio.timeout(self._timeout):
                for group in groups[start : start + JOIN_SLICE]:
                    await self._layer.group_add(group, channel)
            await asyncio.sleep(0)
        return channel

    async def _close(self) -> None:
        async with self._lock:
            self._channel = None
            try:
                await self._flush()
            finally:
                if self._receiver is not None and not self._has_moved:
                    # Cheaper for each message than anything that waits for two things at once.
                    self._has_moved = True
                    self._receiver.cancel()

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._layer.flush()
        except (RedisError, OSError):
            # The other side does not take the end of a connection. Each of them has been given up
            # by now, so the second attempt waits for none.
            await self._layer.flush()

    async def _call(self, operation: Any) -> None:
        # During an outage the layer's own retries would hold the caller for many seconds.
        try:
            async with asyncio.timeout(self._timeout):
                await operation
        except (RedisError, OSError, TimeoutError) as error:
            raise _unavailable(error) from error


def _unavailable(error: BaseException) -> Unavailable:
    refusal = find_refusal(error)
    reason = f": {refusal.reason}" if refusal else ""
    return Unavailable(f"other processes cannot be reached now{reason}; try again in a moment")
