"""Being in a group of the channel layer: from the first holder on until a while after the last."""

import asyncio
import logging
from abc import ABC, abstractmethod
from enum import Enum

from realtime.core.errors import IllegalTransition, Unavailable
from realtime.layer import Layer

logger = logging.getLogger("realtime.hub")

# A join that nobody waits for any more is looked at again after this time.
JOIN_CHECK_DELAY = 0.1


class State(Enum):
    """The state of a membership."""

    IDLE = "idle"
    JOINING = "joining"
    READY = "ready"
    LEAVING = "leaving"


_TRANSITIONS = {
    (State.IDLE, State.JOINING),
    (State.JOINING, State.READY),
    (State.JOINING, State.IDLE),
    (State.IDLE, State.LEAVING),  # a join that failed may have got half-way
    (State.READY, State.LEAVING),
    (State.LEAVING, State.IDLE),
}


class Membership(ABC):
    """Joins and leaves never cross, however holders come and go."""

    def __init__(self, group: str, *, layer: Layer, leave_delay: float) -> None:
        self.group = group
        self._layer = layer
        self._leave_delay = leave_delay
        self._loop = asyncio.get_running_loop()
        self._state = State.IDLE
        self._moving: asyncio.Task[None] | None = None  # the join or leave that is under way
        self._holders = 0
        self._leave_timer: asyncio.TimerHandle | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the group was joined and all is prepared."""
        return self._state is State.READY

    @property
    def is_joining(self) -> bool:
        """Whether messages may arrive already that have to wait."""
        return self._state is State.JOINING

    async def hold(self) -> None:
        """Count one more holder and wait until the group is ready; raises Unavailable."""
        self._holders += 1
        if self._leave_timer is not None:
            self._leave_timer.cancel()
            self._leave_timer = None
        try:
            while not self.is_ready:
                if self._state is State.IDLE:
                    self._move(State.JOINING)
                    self._moving = self._loop.create_task(self._join())
                assert self._moving is not None
                await asyncio.shield(self._moving)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """One holder less; after the last one the group is left with a delay."""
        self._holders -= 1
        # While the group is being left, that itself looks for holders at its end.
        if not self._holders and self._leave_timer is None and self._state is not State.LEAVING:
            self._leave_timer = self._loop.call_later(self._leave_delay, self._start_leaving)
            self._rest()

    def leave(self) -> None:
        """Leave the group without the delay, if nobody holds it."""
        if self._leave_timer is not None:
            self._leave_timer.cancel()
            self._start_leaving()

    @abstractmethod
    async def _prepare(self) -> None:
        """Called when the group was joined, before it is ready; raises Unavailable."""

    @abstractmethod
    def _begin(self) -> None:
        """Called when the group is ready."""

    @abstractmethod
    def _fail(self) -> None:
        """Called when it could not be joined."""

    @abstractmethod
    def _end(self) -> None:
        """Called before the group is left; nothing that still arrives counts."""

    @abstractmethod
    def _rest(self) -> None:
        """Called when the last holder has gone, and the group is left after the delay."""

    @abstractmethod
    def _finish(self) -> None:
        """Called when the group was left and nobody wants it again."""

    async def _join(self) -> None:
        try:
            await self._layer.join(self.group)
            await self._prepare()
        except BaseException:
            self._move(State.IDLE)
            self._fail()
            raise
        self._move(State.READY)
        self._begin()

    def _start_leaving(self) -> None:
        self._leave_timer = None
        if self._holders:
            return
        if self._state is State.JOINING:  # whoever wanted it went away meanwhile
            self._leave_timer = self._loop.call_later(JOIN_CHECK_DELAY, self._start_leaving)
            return
        self._end()
        self._move(State.LEAVING)
        self._moving = self._loop.create_task(self._leave())

    async def _leave(self) -> None:
        try:
            await self._layer.leave(self.group)
        except Unavailable:
            # The layer has forgotten the group on our side; a stray message is ignored.
            logger.warning("left a group without confirmation", extra={"group": self.group})
        self._move(State.IDLE)
        if not self._holders:
            self._finish()

    def _move(self, state: State) -> None:
        if (self._state, state) not in _TRANSITIONS:
            raise IllegalTransition(f"{self.group}: {self._state} → {state}")
        self._state = state
