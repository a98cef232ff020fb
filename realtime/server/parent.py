"""The parent, as one of several serving processes sees it: the other end of a socket pair.

A byte to the parent says that this process serves. A byte from it says that background work may
begin: no other process does it any more. The end of the stream says that the parent is gone.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

logger = logging.getLogger("realtime.server")

Background = Callable[[], Awaitable[None]]


class Parent:
    """Ends this process when the parent dies: by a drain, and by force after `patience` s."""

    def __init__(self, fd: int, *, patience: float) -> None:
        self._channel = socket.socket(fileno=fd)
        self._channel.set_inheritable(False)
        self._patience = patience
        self._permit: Future[None] = Future()
        self._permit.set_running_or_notify_cancel()  # who waits for it cannot cancel it
        # A thread, since it has to work while the loop does not, or not yet.
        threading.Thread(target=self._listen, name="parent", daemon=True).start()

    async def report_ready(self) -> None:
        """Tell the parent that this process serves."""
        with contextlib.suppress(ConnectionError):  # it is gone: the thread sees that too
            self._channel.send(b"\1")

    def hold(self, function: Background) -> Background:
        """The function, which begins when the parent permits it."""

        async def run() -> None:
            await asyncio.wrap_future(self._permit)
            await function()

        return run

    def _listen(self) -> None:
        with contextlib.suppress(ConnectionError):
            while self._channel.recv(1):
                if not self._permit.done():
                    self._permit.set_result(None)
        logger.warning("the parent process is gone: ending")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(self._patience)
        os._exit(1)
