"""Several processes on one socket: the parent of `manage.py serve --processes N`.

The parent binds and looks after its children; it takes no connection and imports neither
Twisted nor the application. A child is a fresh interpreter that adopts the sockets: one forked
from a process that has imported daphne would share its event loop. While a child is away, the
others take what comes, and if none is there, connections wait in the backlog.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from realtime.metrics import FOLDER, ServerRecord
from realtime.server.listening import describe_socket

logger = logging.getLogger("realtime.server")

# A child that died comes back after this, doubled each time; anew when it lived for a while. In
# seconds.
FIRST_DELAY = 0.5
LONGEST_DELAY = 10.0
LONG_LIFE = 10.0
# The parent gives up when nothing serves and a child failed to start that often in a row.
MOST_FAILED_STARTS = 3
# Exit code for arguments that cannot be understood: no use in repeating them.
USAGE_ERROR = 2
# How long a replacement gets to start, and a child beyond its drain to end, in seconds.
START_TIMEOUT = 60.0
EXTRA_SECONDS = 5.0


class Child:
    """A process that serves, as its parent sees it; `realtime.server.parent` is its side."""

    def __init__(
        self, command: Sequence[str], sockets: Sequence[socket.socket], *, counts: Path
    ) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 (our own command line)
                [*command, "--parent-fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno(), *(listening.fileno() for listening in sockets)],
                process_group=0,  # Ctrl-C in a terminal reaches the parent alone
                env={**os.environ, FOLDER: str(counts)},
            )
        self.began = time.monotonic()
        self.has_served = False
        self.settled = asyncio.Event()  # it serves, or it never will
        self.ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._channel.setblocking(False)
        self._loop.add_reader(self._channel, self._hear)

    @property
    def is_serving(self) -> bool:
        return self.has_served and not self.ended.is_set()

    def permit_background(self) -> None:
        """Let it begin its background work."""
        with contextlib.suppress(OSError):  # it has ended, which is seen elsewhere
            self._channel.send(b"\1")

    def note_end(self) -> None:
        """The process is no more."""
        self._loop.remove_reader(self._channel)
        self._channel.close()
        self.settled.set()
        self.ended.set()

    def _hear(self) -> None:
        self._loop.remove_reader(self._channel)
        with contextlib.suppress(ConnectionError):
            self.has_served = bool(self._channel.recv(1))
        self.settled.set()


@dataclass
class Place:
    """One of the N places for a child. `delay` is in seconds, before the next start."""

    number: int
    child: Child | None = None
    keeper: "asyncio.Task[None] | None" = None
    delay: float = FIRST_DELAY
    failed_starts: int = 0


class Supervisor:
    """Runs `count` children with a command, until a signal says to end.

    SIGTERM and SIGINT drain and end all, a second one kills them; SIGHUP replaces one after
    another. `drain_seconds` bounds a drain. Only the first child is given `background`.
    """

    def __init__(
        self,
        command: Sequence[str],
        sockets: Sequence[socket.socket],
        *,
        count: int,
        background: Sequence[str],
        drain_seconds: float,
    ) -> None:
        self._command = [*command]
        for listening in sockets:
            self._command += ["--endpoint", f"fd:fileno={listening.fileno()}"]
        self._background = [part for path in background for part in ("--background", path)]
        self._sockets = sockets
        self._patience = drain_seconds + EXTRA_SECONDS
        self._places = [Place(number) for number in range(count)]
        self._children: set[Child] = set()  # all that live, replacements too
        self._exit_code = 0
        # The children count into files there; those of the dead count on.
        self._folder = tempfile.TemporaryDirectory(prefix="realtime-metrics-")
        self._counts = Path(self._folder.name)
        self._record = ServerRecord()
        self._record.save(self._counts)

    async def run(self) -> int:
        """Serve; returns the exit code."""
        self._stopping = asyncio.Event()
        self._has_served = asyncio.Event()
        self._roll_asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        loop.add_signal_handler(signal.SIGTERM, self._end)
        loop.add_signal_handler(signal.SIGINT, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._roll_asked.set)
        addresses = ", ".join(describe_socket(listening) for listening in self._sockets)
        logger.info("serving", extra={"address": addresses, "processes": len(self._places)})
        try:
            async with asyncio.TaskGroup() as self._tasks:
                work = self._tasks.create_task(self._work())
                await self._stopping.wait()
                for task in (work, *(place.keeper for place in self._places)):
                    if task is not None:
                        task.cancel()
        finally:
            for listening in self._sockets:
                listening.close()
            await self._stop(tuple(self._children))
            self._folder.cleanup()
        return self._exit_code

    async def _work(self) -> None:
        """Start all; then replace all, one after another, each time that it is asked for."""
        for place in self._places:
            place.keeper = self._tasks.create_task(self._keep(place))
            # One first: what is wrong with all of them is then said once.
            await self._has_served.wait()
        while True:
            await self._roll_asked.wait()
            self._roll_asked.clear()
            logger.info("replacing all processes, one after another")
            for place in self._places:
                if not await self._replace(place):
                    break

    async def _keep(self, place: Place) -> None:
        """Have a child in that place, until cancelled."""
        while True:
            child = place.child
            if child is None or child.ended.is_set():
                child = place.child = self._spawn(place.number)
                if child is not None:
                    child.permit_background()
            if child is not None:
                await self._outlive(place, child)
            await asyncio.sleep(place.delay)
            place.delay = min(2 * place.delay, LONGEST_DELAY)

    async def _outlive(self, place: Place, child: Child) -> None:
        """Wait for the end of a child; then set the delay to its successor, or give up."""
        await child.settled.wait()
        if child.has_served:
            logger.info(
                "process serves", extra={"number": place.number, "child": child.process.pid}
            )
            place.failed_starts = 0
            self._has_served.set()
        await child.ended.wait()
        code = child.process.returncode
        if time.monotonic() - child.began >= LONG_LIFE:
            place.delay = FIRST_DELAY
        if not child.has_served:
            place.failed_starts += 1
            is_hopeless = code == USAGE_ERROR or place.failed_starts >= MOST_FAILED_STARTS
            if is_hopeless and not any(other.is_serving for other in self._children):
                logger.critical(
                    "giving up: process %d failed to start (%s), %d in a row, and no other "
                    "serves; what it wrote itself says why",
                    *(place.number, _describe_end(code), place.failed_starts),
                )
                self._exit_code = 1
                self._stopping.set()
                return
        self._record.crashes += 1
        self._record.save(self._counts)
        logger.error(
            "process %d (pid %d) ended by itself (%s); starting another in %.1f s",
            *(place.number, child.process.pid, _describe_end(code), place.delay),
        )

    async def _replace(self, place: Place) -> bool:
        """Start another child and end the old one when the new one serves; False if it fails."""
        child = self._spawn(place.number)
        if child is None:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT):
                await child.settled.wait()
        if not child.has_served:
            logger.error("the new process %d does not serve: keeping the old ones", place.number)
            await self._stop([child])
            return False
        if place.keeper is not None:
            place.keeper.cancel()
        old, place.child = place.child, child
        place.keeper = self._tasks.create_task(self._keep(place))
        if old is not None:
            await self._stop([old])
        child.permit_background()
        return True

    def _spawn(self, number: int) -> Child | None:
        background = self._background if number == 0 else []
        try:
            child = Child([*self._command, *background], self._sockets, counts=self._counts)
        except OSError as error:  # no memory for it, or too many processes
            logger.error("process %d cannot be started now: %s", number, error)
            return None
        self._children.add(child)
        return child

    async def _stop(self, children: Sequence[Child]) -> None:
        """End them: by a drain, or by force when that takes too long."""
        for child in children:
            child.process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                for child in children:
                    await child.ended.wait()
        for child in children:
            if not child.ended.is_set():
                logger.error("pid %d did not end in time: killing it", child.process.pid)
                child.process.kill()
                await child.ended.wait()

    def _reap(self) -> None:
        """SIGCHLD: some have ended."""
        for child in tuple(self._children):
            if child.process.poll() is not None:
                self._children.discard(child)
                mark_process_dead(child.process.pid, str(self._counts))  # type: ignore[no-untyped-call]
                child.note_end()

    def _end(self) -> None:
        """SIGTERM or SIGINT."""
        if self._stopping.is_set():
            self._exit_code = 1
            for child in self._children:
                child.process.kill()
        self._stopping.set()


def _describe_end(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
