"""What a session tells the server that reads its socket, where that is one of this package."""

from typing import Protocol

from realtime.limits.allowances import Allowance
from realtime.limits.memory import HeldMemory

# Where a server that reads its sockets itself puts what does, in a scope's `extensions`.
READER = "realtime.reader"
# The longest first message, the credential, in bytes of payload.
FIRST_MESSAGE_BYTES = 8 * 1024


class Reader(Protocol):
    """Reads a socket for a session, and no more than the session is ready for.

    Until the session has begun a message is read when the session asks for one, and it is at
    most `FIRST_MESSAGE_BYTES` long; the rest stays with the kernel.
    """

    def attend(self, memory: HeldMemory, *, owner: str) -> None:
        """A session is going to be there, and holds its input as this owner until it begins."""

    def hand_over(self) -> None:
        """The session counts the message itself that it has received last."""

    def begin(self, allowance: Allowance | None, *, owner: str) -> None:
        """It has begun: frames that are no messages are taken from its allowance."""
