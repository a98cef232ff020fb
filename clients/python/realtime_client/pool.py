"""A pool of connections, and what is asked or published over any of them."""

import asyncio
import itertools
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from realtime_client.connections import Connections
from realtime_client.errors import ConnectionEnded, ConnectionLost, UnknownOutcome
from realtime_client.messages import Ack
from realtime_client.stream import Stream

if TYPE_CHECKING:
    import numpy.typing as npt

    from realtime_client.arrays import NDArray

Result = TypeVar("Result")

logger = logging.getLogger("realtime_client")


class Pool(Connections):
    """Up to `size` connections are kept, and `max_overflow` more opened while they are needed.

        async with Pool(url, token=get_token) as pool:
            array = await pool.request((2, 3))
            async with pool.connection() as stream:
                await stream.publish_array(array)

    A connection that was idle for `check_after` seconds is pinged before it is handed out, and a
    broken one is replaced. Connections of a pool do not reconnect by themselves and receive
    nothing (`subscribe=True` changes that). Whoever waits longer than `acquire_timeout` gets
    PoolExhausted. Times are in seconds.
    """

    _has_history = True  # until an ack tells otherwise

    async def request(self, shape: Sequence[int], **options: Any) -> "NDArray":
        """An array made by the server, asked on any connection, again where one breaks."""
        return await self._repeat(lambda stream: stream.request(shape, **options))

    async def publish(self, data: Any, *, id: str | None = None) -> Ack:
        """Publish a JSON value once, by whichever connection confirms it.

        It has an id, so it is repeated on another connection where one breaks. UnknownOutcome is
        raised instead where the session is anonymous, or the topic has no history; a pool that
        does not subscribe learns that from its first ack.
        """
        own = id or uuid.uuid4().hex
        return await self._publish(
            lambda stream: stream.publish(data, id=_pick_id(stream, id, own))
        )

    async def publish_array(self, array: "npt.ArrayLike", *, id: str | None = None) -> Ack:
        """Publish an array once, as `publish`."""
        own = id or uuid.uuid4().hex
        return await self._publish(
            lambda stream: stream.publish_array(array, id=_pick_id(stream, id, own))
        )

    async def _publish(self, ask: Callable[[Stream], Awaitable[Ack]]) -> Ack:
        ack = await self._repeat(ask)
        self._has_history = ack.epoch is not None
        return ack

    async def _repeat(self, ask: Callable[[Stream], Awaitable[Result]]) -> Result:
        for attempt in itertools.count():
            async with self.connection() as stream:
                try:
                    return await ask(stream)
                except UnknownOutcome:
                    if _is_anonymous(stream) or not self._may_repeat(stream):
                        raise
                except (ConnectionLost, ConnectionEnded) as error:
                    logger.info("a pooled connection broke (%s); asking another", error)
            config = self._config
            await asyncio.sleep(config.backoff.delay(attempt, config.chance()))
        raise AssertionError("unreachable")

    def _may_repeat(self, stream: Stream) -> bool:
        """Whether the topic has a history: without, an id has no effect."""
        subscribed = stream.subscribed
        return self._has_history if subscribed is None else subscribed.epoch is not None


def _is_anonymous(stream: Stream) -> bool:
    return stream.hello is not None and stream.hello.user is None


def _pick_id(stream: Stream, given: str | None, own: str) -> str | None:
    """The id to publish with: anonymous sessions may not give one."""
    return given if given is not None or _is_anonymous(stream) else own
