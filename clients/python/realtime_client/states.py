"""What a stream is doing."""

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """A stream is one of these."""

    CONNECTING = "connecting"
    LIVE = "live"
    WAITING = "waiting"  # for the next attempt
    CLOSED = "closed"  # for good


@dataclass(frozen=True, slots=True)
class StateChange:
    """A new state; what ended the last connection, and the delay (s) to the next attempt."""

    state: State
    code: int | None = None
    reason: str = ""
    delay: float | None = None
    attempt: int = 0
