"""SQLite in memory, as tests have it: what this process does about a database of that kind.

Each thread has a connection of its own to it, by one cache that they share, and there tables are
locked against each other without any waiting: "database table is locked" for whoever comes
second. So connections to it read without locks, and threads that read see what a test has not
committed; and nothing is written about sessions, which no other process could read anyway.
"""

from typing import Any

from django.db import connections, router
from django.db.backends.signals import connection_created

_IN_MEMORY = (":memory:", "mode=memory")


def connect() -> None:
    """Connect this module's receiver; connecting twice is the same as once."""
    connection_created.connect(read_without_locks, dispatch_uid="realtime.memory_database")


def is_in_memory(model: Any) -> bool:
    """Whether the rows of a model are in an SQLite database in the memory of this process."""
    options = connections.settings[router.db_for_write(model)]
    name = str(options.get("NAME") or "")
    return "sqlite" in options["ENGINE"] and any(text in name for text in _IN_MEMORY)


def read_without_locks(*, connection: Any, **_: Any) -> None:
    """A new connection to such a database takes no locks for reading."""
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA read_uncommitted = 1")
