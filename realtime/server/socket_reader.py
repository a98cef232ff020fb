"""Reads a plain socket straight from the event loop, past the layers of Twisted's reactor.

Twisted starts and stops reading through two methods of its transport; ours take their place, so
that whatever pauses, resumes or ends the transport does the same to us. (They are called before
the socket is closed, which the event loop has to know.)
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from twisted.internet import error
from twisted.python.failure import Failure

logger = logging.getLogger("realtime.server")

# What is taken at a time, in bytes; Twisted takes as much.
READ_SIZE = 64 * 1024


# The transports that are read here: Twisted's reactor does not count them among its readers.
TRANSPORTS: WeakSet[Any] = WeakSet()


class SocketReader:
    """Gives what a transport's socket receives to `on_data`; where `find_buffer` returns one, it
    is received into that, and `on_data` gets the part of it that was filled."""

    def __init__(
        self,
        transport: Any,
        on_data: Callable[[bytes | memoryview], None],
        find_buffer: Callable[[], memoryview | None],
    ) -> None:
        self._transport = transport
        self._socket = transport.socket
        self._file = transport.fileno()
        self._on_data = on_data
        self._find_buffer = find_buffer
        self._loop = asyncio.get_running_loop()
        self._is_reading = False

    def start(self) -> None:
        """Take over from the transport's own reader."""
        TRANSPORTS.add(self._transport)
        self._transport.stopReading()
        self._transport.startReading = self._start_reading
        self._transport.stopReading = self._stop_reading
        self._start_reading()

    def _start_reading(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self._loop.add_reader(self._file, self._read)

    def _stop_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._file)

    def _read(self) -> None:
        # A long message has a buffer of its own, which the kernel fills without another copy.
        buffer = self._find_buffer()
        try:
            data: bytes | memoryview
            if buffer is None:
                data = self._socket.recv(READ_SIZE)
            else:
                data = buffer[: self._socket.recv_into(buffer)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as failure:
            self._transport.connectionLost(Failure(error.ConnectionLost(str(failure))))
            return
        if not data:
            self._transport.connectionLost(Failure(error.ConnectionDone()))
            return
        try:
            self._on_data(data)
        except Exception:
            # A bug of ours: Twisted would end the connection, too, and tell nobody.
            logger.exception("a connection failed")
            self._transport.abortConnection()
