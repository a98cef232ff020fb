"""Where an object may be used: in the process and on the event loop where its life began.

Elsewhere its futures are never awakened, and its sockets belong to somebody else. So it says at
once what is wrong, rather than wait for an answer that cannot come.
"""

import asyncio
import os

from realtime_client.errors import Misuse


class Process:
    """The process that something was made in."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_forked(self) -> bool:
        """Whether this is a fork of it, where its threads do not run."""
        return self._pid != os.getpid()

    def check(self, what: str) -> None:
        """Raises Misuse in a fork."""
        if self.is_forked:
            raise Misuse(
                f"this {what} was opened in another process, of which this one is a fork: "
                f"make a {what} of its own here, after the fork"
            )


class Home:
    """The process and the running event loop that something belongs to."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._process = Process()
        self._loop = asyncio.get_running_loop()

    def check(self) -> None:
        """Raises Misuse anywhere else."""
        self._process.check(self._what)
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            return
        if self._loop.is_closed():
            raise Misuse(
                f"this {self._what} was opened on an event loop that has ended: "
                f"make another {self._what} on this one, or stay within one asyncio.run(…)"
            )
        raise Misuse(
            f"this {self._what} was opened on another event loop, and works there alone: "
            f"use asyncio.run_coroutine_threadsafe(…, that loop), or make a {self._what} on this "
            "one; realtime_client.sync can be used from any thread"
        )
