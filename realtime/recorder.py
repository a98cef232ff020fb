"""Writes this process's sessions to the database: in batches, beside the loop, never in its way."""

import asyncio
import logging
import os
import socket
import uuid
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.db import DatabaseError, OperationalError, close_old_connections, reset_queries
from django.db.models.functions import Now

from realtime import models
from realtime.conf import Settings
from realtime.sessions import Session

logger = logging.getLogger("realtime.recorder")

# Changes of this long are written together.
BATCH_DELAY = 0.05
BATCH_SIZE = 500
RETRY_DELAY = 1.0
# Changes that wait while the database is away; beyond, the oldest are given up.
MAX_WAITING = 100_000


class Recorder:
    """Keeps the rows of one instance and of its sessions true."""

    def __init__(self, *, instance_id: str, settings: Settings) -> None:
        self._instance_id = instance_id
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._renewal = settings.lease_renewal_seconds
        self._changes: deque[Session] = deque(maxlen=MAX_WAITING)
        self._changed = asyncio.Event()
        self._saving: asyncio.Task[bool] | None = None
        self._has_row = False

    def note(self, session: Session) -> None:
        """The session has begun or ended: write it soon."""
        self._changes.append(session)
        self._changed.set()

    async def record_forever(self) -> None:
        """Write what changes, until cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(BATCH_DELAY)
            self._changed.clear()
            await self.flush()

    async def renew_forever(self) -> None:
        """Renew the lease, until cancelled; close the rows of instances that lost theirs."""
        while True:
            await self._write(self._renew_lease)
            await asyncio.sleep(self._renewal)

    async def flush(self) -> None:
        """Write all that waits."""
        while self._changes:
            batch = [self._changes.popleft() for _ in range(min(len(self._changes), BATCH_SIZE))]
            # Shielded: what was taken out of the queue is written, whoever is cancelled meanwhile.
            self._saving = asyncio.get_running_loop().create_task(self._save(batch))
            if not await asyncio.shield(self._saving):
                self._changed.set()
                await asyncio.sleep(RETRY_DELAY)
                return

    async def close(self) -> None:
        """Write what waits, and give up the lease."""
        if self._saving is not None:
            await asyncio.wait({self._saving})
        await self.flush()
        await self._write(self._end_lease)

    async def _save(self, batch: list[Session]) -> bool:
        saved = await self._write(self._write_batch, batch)
        if not saved:
            self._changes.extendleft(reversed(batch))
        return saved

    async def _write(self, operation: Any, *arguments: Any) -> bool:
        try:
            await sync_to_async(_with_fresh_connection, thread_sensitive=False)(
                operation, *arguments
            )
        except OperationalError as error:
            logger.error("sessions could not be written yet: %s", error)
            return False
        except DatabaseError:
            # Not a matter of time: repeating it would hold up all that comes after.
            logger.exception("sessions could not be written")
        return True

    def _write_batch(self, batch: list[Session]) -> None:
        if not self._has_row:
            self._renew_lease()
        sessions = {session.id: session for session in batch}
        # An upsert: `bulk_update` builds an expression for each value, ten times the work, and
        # while this thread computes, the event loop waits for the interpreter.
        models.Session.objects.bulk_create(
            [_build_row(session, self._instance_id) for session in sessions.values()],
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=["closed_at", "close_code", "messages_in", "messages_out"],
        )

    def _renew_lease(self) -> None:
        models.Instance.objects.update_or_create(
            id=self._instance_id,
            defaults={"lease_until": Now() + self._lease},
            create_defaults={
                "lease_until": Now() + self._lease,
                "host": socket.gethostname(),
                "pid": os.getpid(),
            },
        )
        self._has_row = True
        models.Session.objects.filter(closed_at=None, instance__lease_until__lte=Now()).update(
            closed_at=Now()
        )

    def _end_lease(self) -> None:
        models.Instance.objects.filter(id=self._instance_id).update(lease_until=Now())
        models.Session.objects.filter(closed_at=None, instance=self._instance_id).update(
            closed_at=Now()
        )


def _with_fresh_connection(operation: Any, *arguments: Any) -> None:
    reset_queries()  # what Django notes where DEBUG is on; no request begins here and clears it
    close_old_connections()
    try:
        operation(*arguments)
    finally:
        close_old_connections()


def _build_row(session: Session, instance_id: str) -> models.Session:
    return models.Session(
        id=uuid.UUID(session.id),
        instance_id=instance_id,
        user_id=session.user.pk if session.user is not None else None,
        topic=session.topic,
        address=session.address[:64],
        user_agent=session.user_agent.replace("\0", "")[:255],
        connected_at=datetime.fromtimestamp(session.began, UTC),
        closed_at=datetime.fromtimestamp(session.ended, UTC) if session.ended else None,
        close_code=session.close_code,
        messages_in=session.messages_in,
        messages_out=session.messages_out,
    )
