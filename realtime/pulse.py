"""The pulse of a process through Redis: a publication of its own, each second, there and back.

It takes the way of every publication: the script of the history writes it and announces it, and
the channel layer brings it. So it finds whatever would keep publications from being accepted or
heard, and a connection of the layer that has gone silent, which nothing else shows: such a
connection is closed and opened again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from realtime.conf import Kind, Namespace, Settings
from realtime.core.errors import Unavailable
from realtime.core.topics import Topic
from realtime.history import Accepted, Batch, History, Item
from realtime.layer import Layer
from realtime.redis_errors import find_refusal, quote
from realtime.redis_server import RedisServer

logger = logging.getLogger("realtime.pulse")

# The type of its messages.
PULSE = "pulse"
# No client can name a topic of this namespace, which begins with no letter.
NAMESPACE = "_pulse"
OPTIONS = Namespace(kind=Kind.BROADCAST, history_size=1, history_ttl=60.0)

# Between two beats, in seconds; and after one that failed.
INTERVAL = 1.0
RETRY_INTERVAL = 0.25
# Whoever asks within this time of a beat is answered by it.
FRESH = 0.25
# The layer is silent if nothing came through it for so many times so long after an announcement:
# in steps, so that a busy loop is not taken for a silent connection.
STEPS = 6
STEP = 0.2
# After a silence the layer is opened again at once; if it stays silent, after this time, doubled
# each time.
FIRST_DELAY = 3.0
LONGEST_DELAY = 30.0
# So often it is seen whether another deployment uses the same names, and said in the log.
CLAIM_INTERVAL = 15.0
CLAIM_LOG_INTERVAL = 60.0


@dataclass(frozen=True, slots=True)
class Health:
    """What keeps publications from being accepted or heard, as a part of a sentence; or nothing.

    `words` are those of Redis, for the log. `is_misfit`: no Redis of this kind can ever work.
    """

    reason: str = ""
    words: str = ""
    is_misfit: bool = False


class Pulse:
    """Beats for one process. `on_reopened` is called when the layer may have missed something."""

    def __init__(
        self,
        *,
        settings: Settings,
        history: History,
        layer: Layer,
        instance: str,
        on_reopened: Callable[[], None],
    ) -> None:
        self._timeout = settings.history_timeout
        self._history = history
        self._layer = layer
        self._on_reopened = on_reopened
        self._topic = Topic(NAMESPACE, instance)
        self._server = RedisServer(settings) if settings.redis_url else None
        self._loop = asyncio.get_running_loop()
        self._health = Health()
        self._beaten_at = float("-inf")
        self._beating: asyncio.Task[None] | None = None
        self._is_fit = False  # until the server was asked of which kind it is
        self._has_joined = False
        self._heard: tuple[str, int] | None = None
        self._has_heard = asyncio.Event()
        self._silence = Health()  # the last one, with what was found out about it
        self._delay = FIRST_DELAY
        self._reopens_at = 0.0
        self._claims_at = 0.0
        self._claim_logs_at = 0.0

    async def beat_forever(self) -> None:
        """Beat, until cancelled."""
        if self._server is None:
            return
        while True:
            health = await self.look()
            await asyncio.sleep(RETRY_INTERVAL if health.reason else INTERVAL)

    async def look(self) -> Health:
        """The health of this moment. All who ask at once share one beat."""
        if self._server is None:
            return self._health
        if self._beating is None and self._loop.time() - self._beaten_at >= FRESH:
            self._beating = self._loop.create_task(self._beat())
        if self._beating is not None:
            await asyncio.shield(self._beating)
        return self._health

    def hear(self, message: dict[str, Any]) -> None:
        """Take what the layer brought, of type `PULSE`."""
        self._heard = (message["epoch"], message["offset"])
        self._has_heard.set()

    async def close(self) -> None:
        """Stop."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])

    async def _beat(self) -> None:
        # From its beginning on it grows old: what happened during it may not be in it.
        self._beaten_at = self._loop.time()
        try:
            self._note(await self._find_health())
        finally:
            self._beating = None

    async def _find_health(self) -> Health:
        try:
            if not self._is_fit:
                if misfit := await self._find_misfit():
                    return Health(f"the store cannot be used: {misfit}", is_misfit=True)
                self._is_fit = True
            if not self._has_joined:
                await self._layer.join(self._topic.group)
                self._has_joined = True
            batch = Batch(self._topic, OPTIONS, [Item(b"")], type=PULSE)
            (result,) = await self._history.append([batch])
            if isinstance(result, Unavailable):
                raise result
            if not self._history.announces:
                position = {"epoch": result.epoch, "offset": result.offsets[0]}
                await self._layer.send(self._topic.group, {"type": PULSE, **position})
        except (Unavailable, RedisError, OSError) as error:
            return _diagnose(error)
        if result.unannounced:
            return Health("the store does not let the server announce", result.unannounced)
        if not await self._is_heard(result):
            return await self._break_silence()
        self._delay, self._reopens_at = FIRST_DELAY, 0.0
        try:
            await self._claim_names()
        except (RedisError, OSError) as error:
            return _diagnose(error)
        return Health()

    async def _find_misfit(self) -> str:
        assert self._server is not None
        return (await self._server.read_kind()).misfit

    async def _claim_names(self) -> None:
        assert self._server is not None
        if self._loop.time() < self._claims_at:
            return
        is_ours = await self._server.claim_names()
        self._claims_at = self._loop.time() + CLAIM_INTERVAL
        if not is_ours and self._loop.time() >= self._claim_logs_at:
            self._claim_logs_at = self._loop.time() + CLAIM_LOG_INTERVAL
            logger.error(
                "another deployment uses the same names in this Redis, and each hears what the "
                "other publishes: give them different REALTIME_PREFIX. (For a minute after a "
                "change of the secret key or of the database this is the former deployment.)"
            )

    async def _is_heard(self, sent: Accepted) -> bool:
        """Whether the announcement comes back, or at least anything: a busy layer is alive."""
        wanted = (sent.epoch, sent.offsets[0])
        before = self._layer.received
        for _ in range(STEPS):
            if self._heard == wanted or self._layer.received != before:
                return True
            self._has_heard.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STEP):
                    await self._has_heard.wait()
        return self._heard == wanted or self._layer.received != before

    async def _break_silence(self) -> Health:
        if self._loop.time() < self._reopens_at:
            return self._silence
        self._reopens_at = self._loop.time() + self._delay
        self._delay = min(2 * self._delay, LONGEST_DELAY)
        logger.error(
            "the channel layer was silent for %.1f s: closing its connection and opening another",
            STEPS * STEP,
        )
        self._silence = Health("the channel layer is silent: what others publish is heard late")
        try:
            await self._layer.reopen()
            self._on_reopened()
            await self._try_subscribing()
        except (Unavailable, RedisError, OSError) as error:
            self._silence = _diagnose(error)
        return self._silence

    async def _try_subscribing(self) -> None:
        """Find out what the layer's own connection keeps to itself; raises RedisError."""
        assert self._server is not None
        if (prefix := self._history.group_prefix) is not None:
            await self._server.try_subscribing(prefix + self._topic.group)

    def _note(self, health: Health) -> None:
        before, self._health = self._health, health
        if health.reason == before.reason:
            return
        if health.reason:
            logger.error("%s: %s", health.reason, health.words or "see docs/delivery.md")
        else:
            logger.warning("publications are accepted and heard again")


def _diagnose(error: BaseException) -> Health:
    cause = error.__cause__ if isinstance(error, Unavailable) and error.__cause__ else error
    refusal = find_refusal(cause)
    if refusal is not None:
        return Health(refusal.reason, quote(error), refusal.is_misfit)
    is_late = isinstance(cause, (TimeoutError, RedisTimeoutError))
    return Health(
        "the store does not answer in time" if is_late else "the store cannot be reached",
        quote(error),
    )
