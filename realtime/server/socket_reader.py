"""Reads a plain socket straight from the event loop, past the layers of Twisted's reactor.

Twisted's transports start and stop reading through two methods. Ours override them, so that
whatever pauses, resumes or ends a transport does the same to its direct reading. (They are called
before the socket is closed, which the event loop has to know.)
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from twisted.internet import error, tcp, unix
from twisted.python.failure import Failure

logger = logging.getLogger("realtime.server")

# How often a long message is received from in one turn of the loop, so that others get theirs.
MAX_READS = 2

# What all sockets together receive of long messages in one turn, in bytes; then the others'.
TURN_BYTES = 4 * 1024 * 1024
# How many connections are accepted in one turn of the loop, of those that wait: the rest of a
# crowd comes in the next turns, and everybody else is served in between.
MAX_ACCEPTS = 8

# Where to receive, or how many bytes to take at most.
PlanRead = Callable[[], memoryview | int]


class _Turn:
    """What is left of this turn for long messages."""

    def __init__(self) -> None:
        self.left = TURN_BYTES

    def take(self, size: int) -> None:
        """Take so many bytes out; the next turn begins anew."""
        if self.left == TURN_BYTES:
            asyncio.get_running_loop().call_soon(self._renew)
        self.left -= size

    def _renew(self) -> None:
        self.left = TURN_BYTES


_turn = _Turn()


class DirectReads:
    """A transport of Twisted's that can read by itself, for its protocol's `dataReceived`."""

    # Not in the instance's dictionary: with more names than it began with, it would double.
    __slots__ = ("_is_reading", "_plan_read")

    socket: Any
    protocol: Any
    fileno: Callable[[], int]
    connectionLost: Callable[[Failure], None]
    abortConnection: Callable[[], None]

    def __init__(self, *arguments: Any) -> None:
        self._plan_read: PlanRead | None = None
        self._is_reading = False
        super().__init__(*arguments)  # starts reading

    def read_directly(self, plan_read: PlanRead) -> None:
        """Read past the reactor from now on; nothing is read until `resumeProducing`.

        Where `plan_read` returns a buffer, the socket is received into that, and the protocol
        gets the part of it that was filled.
        """
        self.stopReading()
        self._plan_read = plan_read

    def startReading(self) -> None:
        """Called by Twisted, and through `resumeProducing`."""
        if self._plan_read is None:
            super().startReading()  # type: ignore[misc]
        elif not self._is_reading:
            self._is_reading = True
            asyncio.get_running_loop().add_reader(self.fileno(), self._read)

    def stopReading(self) -> None:
        """Called by Twisted, and through `pauseProducing`."""
        if self._plan_read is None:
            super().stopReading()  # type: ignore[misc]
        elif self._is_reading:
            self._is_reading = False
            asyncio.get_running_loop().remove_reader(self.fileno())

    def _read(self) -> None:
        assert self._plan_read is not None
        plan = self._plan_read()
        # The rest of a long message is mostly there already: no turn of the loop for each piece.
        for _ in range(MAX_READS):
            if isinstance(plan, int):
                self._receive(plan)
                return
            if _turn.left <= 0:
                return  # it is called again in the next turn
            if not (size := self._receive(plan)):
                return
            _turn.take(size)
            plan = self._plan_read()
            if isinstance(plan, int) or not self._is_reading:
                return

    def _receive(self, plan: memoryview | int) -> int:
        """Take what is there, once; returns how many bytes; 0: there is no more."""
        try:
            data: bytes | memoryview
            if isinstance(plan, int):
                data = self.socket.recv(plan)
            else:
                data = plan[: self.socket.recv_into(plan)]
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as failure:
            self.connectionLost(Failure(error.ConnectionLost(str(failure))))
            return 0
        if not data:
            self.connectionLost(Failure(error.ConnectionDone()))
            return 0
        size = len(data)
        try:
            self.protocol.dataReceived(data)
        except Exception:
            # A bug of ours: Twisted would end the connection, too, and tell nobody.
            logger.exception("a connection failed")
            self.abortConnection()
            return 0
        return size


class _TCPServer(DirectReads, tcp.Server):  # type: ignore[misc]
    __slots__ = ()


class _UNIXServer(DirectReads, unix.Server):  # type: ignore[misc]
    __slots__ = ()


_TRANSPORTS = {tcp.Server: _TCPServer, unix.Server: _UNIXServer}


def enable_direct_reads(port: Any) -> None:
    """Let a listening port make such transports, where it would make plain ones of Twisted's."""
    port.transport = _TRANSPORTS.get(port.transport, port.transport)


def bound_accepts(port: Any) -> None:
    """Let a listening port accept a few connections at a time; Twisted's take ever more."""
    accept = port.doRead

    def accept_few() -> None:
        port.numberAccepts = MAX_ACCEPTS
        accept()

    port.doRead = accept_few
