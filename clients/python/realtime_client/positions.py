"""Where a reader stands on a topic, and the rules by which it moves.

Section Recovery of the protocol. A message that breaks a rule raises ProtocolFault and moves
nothing, so that the client can come back with its last good position.
"""

from dataclasses import dataclass

from realtime_client.errors import ProtocolFault


@dataclass(frozen=True, slots=True)
class Position:
    """The last publication that a reader has. Store it, and give it to `connect` to go on."""

    epoch: str
    offset: int


class Tracker:
    """The position of one reader, through all its connections."""

    def __init__(self, position: Position | None = None) -> None:
        self.position = position
        self.has_history: bool | None = None  # None until the topic has told
        self._awaits_gap = False
        self._is_first = True

    def begin(self) -> None:
        """A new connection: what it says comes after `position`."""
        self._awaits_gap = False
        self._is_first = True

    def subscribe(self, *, epoch: str | None, next: int | None, recovered: bool | None) -> None:
        """Take a `subscribed`."""
        self.has_history = epoch is not None and next is not None
        if epoch is None or next is None:
            self.position = None
            return
        start = Position(epoch, next - 1)
        if recovered and self.position is not None and start != self.position:
            raise ProtocolFault(f"recovered at {start}, asked for {self.position}")
        if recovered is False:
            # The gap that follows moves it: were the connection to break in between, the loss
            # would go unnoticed otherwise.
            self._awaits_gap = True
        else:
            self.position = start

    def lose(self, *, epoch: str, next: int) -> None:
        """Take a `gap`."""
        self._awaits_gap = False
        self.position = Position(epoch, next - 1)

    def check(self, offset: int | None, *, skipped: int, is_stats: bool = False) -> None:
        """Raise ProtocolFault where a publication is not the next one."""
        if self._awaits_gap:
            raise ProtocolFault("no gap came after recovered: false")
        if self.position is None or offset is None:
            if self.has_history:
                raise ProtocolFault("a publication without an offset on a topic with history")
            return
        ahead = offset - self.position.offset - skipped
        if ahead != 1 and not (ahead == 0 and is_stats and self._is_first):
            raise ProtocolFault(f"offset {offset} (skipped {skipped}) after {self.position.offset}")

    def advance(self, offset: int | None) -> Position | None:
        """Move to a publication that was checked and is here in whole."""
        self._is_first = False
        if self.position is not None and offset is not None:
            self.position = Position(self.position.epoch, offset)
        return self.position
