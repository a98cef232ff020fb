"""Does the database answer? However many ask, it is asked by one thread at a time."""

import asyncio

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection

# In seconds: how long those who ask wait; and for how long an answer is good for others, too.
TIMEOUT = 2.0
FRESH = 0.25


class DatabaseProbe:
    """Asks for one process. A database that hangs holds up one thread, and counts as away."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = float("-inf")
        self._answers = False

    async def look(self) -> bool:
        """Whether it answers now."""
        if self._asking is None and self._loop.time() - self._asked_at >= FRESH:
            self._asking = self._loop.create_task(self._ask())
        if self._asking is not None:
            done, _ = await asyncio.wait({self._asking}, timeout=TIMEOUT)
            if not done:
                return False
        return self._answers

    async def _ask(self) -> None:
        self._asked_at = self._loop.time()
        try:
            await sync_to_async(_select, thread_sensitive=False)()
            self._answers = True
        except DatabaseError:
            self._answers = False
        finally:
            self._asking = None


def _select() -> None:
    connection.close()  # a new one: SQLite would answer from one that is open, file or no file
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()
