"""The database of a fleet, seen and held from outside: rows of sessions, leases, locks."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Nobody else can write during the block."""
    with closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def read_rows(database: Path, topic: str) -> dict[str, dict[str, Any]]:
    """The rows of a topic's sessions, by their ids, with whether they are live."""
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute(
            "SELECT s.*, s.closed_at IS NULL AND i.lease_until > strftime('%Y-%m-%d %H:%M:%f')"
            " AS is_live FROM realtime_session s JOIN realtime_instance i ON i.id = s.instance_id"
            " WHERE s.topic = ?",
            [topic],
        )
        return {str(UUID(row["id"])): dict(row) for row in rows}


async def wait_for_rows(
    database: Path, topic: str, count: int, *, seconds: float = 60
) -> dict[str, dict[str, Any]]:
    """Wait until so many of a topic's sessions are live."""
    deadline = time.monotonic() + seconds
    while True:
        rows = read_rows(database, topic)
        live = sum(row["is_live"] for row in rows.values())
        if live == count:
            return rows
        assert time.monotonic() < deadline, f"{live} are live, not {count}"
        await asyncio.sleep(0.05)


async def wait_for_counts(
    database: Path, topic: str, sessions: Collection[str]
) -> dict[str, dict[str, Any]]:
    """Wait until these sessions have ended with their one message counted."""
    deadline = time.monotonic() + 60
    while True:
        rows = read_rows(database, topic)
        late = [s for s in sessions if s not in rows or rows[s]["messages_in"] != 1]
        if not late:
            return rows
        assert time.monotonic() < deadline, late
        await asyncio.sleep(0.1)


async def wait_until_closed(database: Path, topic: str, sessions: Collection[str]) -> None:
    """Wait until the rows of these sessions are closed."""
    deadline = time.monotonic() + 60
    while True:
        rows = read_rows(database, topic)
        late = [session for session in sessions if not rows[session]["closed_at"]]
        if not late:
            return
        assert time.monotonic() < deadline, late
        await asyncio.sleep(0.1)


@asynccontextmanager
async def count_commits(database: Path) -> AsyncIterator[list[int]]:
    """Counts the transactions that others commit, as far as they are a millisecond apart."""
    counted = [0]

    async def count() -> None:
        with closing(sqlite3.connect(database, timeout=60)) as connection:
            last = None
            while True:
                (version,) = connection.execute("PRAGMA data_version").fetchone()
                counted[0] += last is not None and version != last
                last = version
                await asyncio.sleep(0.001)

    task = asyncio.create_task(count())
    try:
        yield counted
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def count_lease_writes(database: Path, *, seconds: float) -> int:
    """How often the lease of any instance that is alive moves in that time."""
    writes, last = 0, dict[str, str]()
    deadline = time.monotonic() + seconds
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        while time.monotonic() < deadline:
            rows = dict(connection.execute("SELECT id, lease_until FROM realtime_instance"))
            writes += sum(last.get(key, lease) != lease for key, lease in rows.items())
            last = rows
            await asyncio.sleep(0.05)
    return writes
