"""SQLite in memory, as tests have it."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection

from accounts.models import User
from realtime.memory_database import is_in_memory, read_without_locks
from realtime.models import Session
from realtime.runtime import Runtime
from tests.servers import Project


def read_in_a_thread() -> list[str]:
    """The names of all users, read by another connection."""
    names: list[str] = []

    def read() -> None:
        names.extend(User.objects.values_list("username", flat=True))
        connection.close()

    thread = threading.Thread(target=read)
    thread.start()
    thread.join(30)
    return names


def test_another_thread_reads_what_a_test_has_not_committed(db: None) -> None:
    User.objects.create(username="anna")
    assert read_in_a_thread() == ["anna"]


def test_without_that_a_table_is_locked(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA read_uncommitted")
        assert cursor.fetchone() == (1,)
    User.objects.create(username="anna")
    problems: list[Exception] = []

    def read() -> None:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA read_uncommitted = 0")
        try:
            User.objects.exists()
        except OperationalError as error:
            problems.append(error)
        read_without_locks(connection=connection)
        User.objects.exists()

    thread = threading.Thread(target=read)
    thread.start()
    thread.join(30)
    assert "is locked" in str(problems[0])


@pytest.mark.parametrize("has_sessions", [False, True])
async def test_nothing_is_written_about_sessions_there(db: None, has_sessions: bool) -> None:
    assert is_in_memory(Session)
    runtime = Runtime(has_sessions=has_sessions)
    assert runtime.settings.track_sessions
    runtime.recorder.note(None)  # type: ignore[arg-type]
    assert await runtime.recorder.flush()
    await runtime.stop()


def test_a_file_is_no_database_in_memory(make_project: Callable[..., Project]) -> None:
    code = (
        "from realtime.memory_database import is_in_memory; from realtime.models import Session;"
        "from django.db import connection; cursor = connection.cursor();"
        "cursor.execute('PRAGMA read_uncommitted'); print(is_in_memory(Session), cursor.fetchone())"
    )
    answer: Any = make_project().manage("shell", "-v", "0", "-c", code)
    assert answer.strip() == "False (0,)"
