"""Keeps the rows of this process true: in batches, beside the loop, never in its way."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.db import Error as DatabaseFault
from django.db import (
    InterfaceError,
    InternalError,
    OperationalError,
    close_old_connections,
    connections,
    reset_queries,
)

from realtime.conf import Settings
from realtime.core.addresses import group_address
from realtime.core.budgets import Budgets
from realtime.core.close_codes import CloseCode
from realtime.metrics import UNKEPT_SESSIONS
from realtime.sessions import Session, Sessions
from realtime.tracking.lease import Lease, sweep
from realtime.tracking.load import LoadMeter
from realtime.tracking.retention import limit_sessions, prune_sessions
from realtime.tracking.rows import delete_rows, save_rows

logger = logging.getLogger("realtime.recorder")

# Changes of this long are written together.
BATCH_DELAY = 0.05
BATCH_SIZE = 500
RETRY_DELAY = 1.0
# Changes that wait while the database is away; beyond, the oldest are given up.
MAX_WAITING = 100_000
# How often old rows are deleted, in seconds.
PRUNE_INTERVAL = 3600.0
# How often the log says of whom rows were not kept (s), and of how many addresses at most.
TELL_INTERVAL = 60.0
MAX_TOLD = 20


class Recorder:
    """Writes the rows of one instance and of its sessions."""

    def __init__(
        self, *, instance_id: str, version: str, settings: Settings, sessions: Sessions
    ) -> None:
        self._instance_id = instance_id
        self._settings = settings
        self._sessions = sessions
        self._lease = Lease(
            instance_id=instance_id, seconds=settings.lease_seconds, version=version
        )
        self._meter = LoadMeter(sessions)
        self._budgets = Budgets(
            each=settings.session_rows_per_address,
            in_all=settings.session_rows_per_hour,
            now=time.monotonic(),
        )
        self._changes: deque[Session] = deque(maxlen=MAX_WAITING)
        self._changed = asyncio.Event()
        # One write at a time: a later one knows more, and has to come later.
        self._writing = asyncio.Lock()

    async def run_forever(self) -> None:
        """Write whatever there is to write, until cancelled."""
        if not self._settings.track_sessions:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._meter.watch_forever())
            group.create_task(self._renew_forever())
            group.create_task(self._record_forever())
            group.create_task(self._count_forever())
            group.create_task(self._prune_forever())
            group.create_task(self._tell_forever())

    def note(self, session: Session) -> None:
        """The session has begun or ended: write it soon.

        Of one that has ended no row is kept where its address has had too many; but an
        administrator finds each one that was ended by one.
        """
        if self._settings.track_sessions:
            if session.ended is not None and session.close_code != CloseCode.DISCONNECTED:
                session.keeps_row = self._budgets.take(
                    group_address(session.address), time.monotonic()
                )
                if not session.keeps_row:
                    UNKEPT_SESSIONS.inc()
                    self._sessions.unkept_count += 1
            self._changes.append(session)
            self._changed.set()

    async def close(self) -> None:
        """Write what waits, and give up the lease."""
        if self._settings.track_sessions:
            self.tell_unkept()
            if not await self.flush() and await self._renew():
                await self.flush()  # a sweep had ended the claim; there is a new one now
            await self._write(self._lease.end)

    async def flush(self) -> bool:
        """Write all that waits, also what another task is writing already.

        False where the database does not take it now, or the claim was lost: then it waits on.
        """
        while self._changes:
            if not self._lease.epoch and not await self._renew():
                return False
            batch = [self._changes.popleft() for _ in range(min(len(self._changes), BATCH_SIZE))]
            saved = False
            try:
                saved = await self._write(self._save, batch)
            finally:
                if not saved:
                    self._put_back(batch)
            if not saved:
                return False
        async with self._writing:
            return True

    def _put_back(self, batch: Sequence[Session]) -> None:
        # A full deque would drop at its other end, where the newest are.
        room = MAX_WAITING - len(self._changes)
        self._changes.extendleft(reversed(batch[max(len(batch) - room, 0) :]))
        self._changed.set()

    # The lease

    async def _renew_forever(self) -> None:
        while True:
            done = await self._renew()
            await asyncio.sleep(self._settings.lease_renewal_seconds if done else RETRY_DELAY)

    async def _renew(self) -> bool:
        """Renew the lease, or take a new one; then close the rows of instances without one."""
        load = self._meter.measure()
        if not await self._write(self._renew_or_take, load):
            return False
        return await self._write(sweep)

    def _renew_or_take(self, load: Any) -> None:
        if self._lease.renew(load):
            return
        if self._lease.epoch:
            logger.warning(
                "this instance was away for longer than its lease; its sessions are written anew",
                extra={"sessions": len(self._sessions)},
            )
        # Whoever is connected now. What happens from here on is noted, and written after this.
        # (The list is made in one step of the interpreter, so it may be made in this thread.)
        self._lease.take(lambda epoch: self._save_rows(self._list_begun(), epoch))

    # Sessions

    async def _record_forever(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(BATCH_DELAY)
            self._changed.clear()
            if not await self.flush():
                await asyncio.sleep(RETRY_DELAY)
                self._changed.set()

    async def _count_forever(self) -> None:
        """Write the counts of live sessions that have changed, a batch at a time."""
        while True:
            await asyncio.sleep(self._settings.count_seconds)
            moved = [session for session in self._list_begun() if session.has_moved()]
            for start in range(0, len(moved), BATCH_SIZE):
                # One that ended meanwhile is written as such.
                await self._write(self._save, moved[start : start + BATCH_SIZE])
                await asyncio.sleep(BATCH_DELAY)

    def _list_begun(self) -> list[Session]:
        return [session for session in self._sessions if session.has_begun]

    def _save(self, sessions: Sequence[Session]) -> bool:
        rows = list(dict.fromkeys(sessions))
        return self._lease.write(lambda epoch: self._save_rows(rows, epoch))

    def _save_rows(self, sessions: Sequence[Session], epoch: int) -> None:
        kept, over = [], []
        for session in sessions:
            if session.ended is None or session.keeps_row:
                session.has_row = True
                kept.append(session)
            elif session.has_row:
                over.append(session)
        save_rows(kept, instance_id=self._instance_id, epoch=epoch)
        if over:
            delete_rows([session.id for session in over])

    async def _tell_forever(self) -> None:
        while True:
            await asyncio.sleep(TELL_INTERVAL)
            self.tell_unkept()

    def tell_unkept(self) -> None:
        """Say in the log of whose sessions no row was kept since the last time."""
        largest, others = self._budgets.take_refused(most=MAX_TOLD)
        for address, count in largest:
            logger.warning(
                "more sessions of this address ended, and were not kept",
                extra={"address": address, "sessions": count},
            )
        if others:
            logger.warning(
                "more sessions of other addresses ended, and were not kept",
                extra={"sessions": others},
            )

    # The database

    async def _prune_forever(self) -> None:
        days, most = self._settings.session_retention_days, self._settings.session_rows_most
        while days or most:
            # Not every instance at the same moment.
            await asyncio.sleep(PRUNE_INTERVAL * random.uniform(0.1, 1))  # noqa: S311 (no secret)
            if days:
                await self._run(prune_sessions, timedelta(days=days))
            if most:
                await self._run(limit_sessions, most)

    async def _write(self, operation: Any, *arguments: Any) -> bool:
        """Run a write after those before it; it is done, whoever is cancelled meanwhile."""
        return await asyncio.shield(self._write_in_turn(operation, *arguments))

    async def _write_in_turn(self, operation: Any, *arguments: Any) -> bool:
        async with self._writing:
            return await self._run(operation, *arguments)

    async def _run(self, operation: Any, *arguments: Any) -> bool:
        """Whether it is done: not where the database is away, or the operation returned False."""
        try:
            result = await sync_to_async(_with_fresh_connection, thread_sensitive=False)(
                operation, *arguments
            )
        # PostgreSQL calls it internal that it only reads, as after a failover. The others: no
        # descriptor is left, or no thread.
        except (OperationalError, InterfaceError, InternalError, OSError, RuntimeError) as error:
            logger.error("sessions could not be written yet: %s", error)
            return False
        except Exception:
            # Not a matter of time, as a value that no column takes: repeating it would hold up
            # all that comes after.
            logger.exception("sessions could not be written")
            return True
        return result is not False


def _with_fresh_connection(operation: Any, *arguments: Any) -> Any:
    reset_queries()  # what Django notes where DEBUG is on; no request begins here and clears it
    close_old_connections()
    try:
        return operation(*arguments)
    except DatabaseFault:
        # The error holds cursors in cycles, which are collected in any thread, the loop's too.
        # There they would wait for the next attempt on this connection, on SQLite for seconds.
        connections.close_all()
        raise
    finally:
        close_old_connections()
