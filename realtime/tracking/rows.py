"""Rows of sessions: built from what the process knows, written many at a time."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.db import connections, router, transaction

from realtime import models
from realtime.sessions import Session

# The columns of a row, in the order of `_list_values`; `CHANGING` ones do after its first writing.
FIXED = (
    "id",
    "instance_id",
    "user_id",
    "namespace",
    "topic",
    "address",
    "user_agent",
    "connected_at",
)
CHANGING = (
    "epoch",
    "closed_at",
    "close_code",
    "messages_in",
    "messages_out",
    "bytes_in",
    "bytes_out",
    "errors",
    "skipped",
    "waiting_bytes",
)
# Rows that one statement writes: some builds of SQLite take no more than 999 values.
STATEMENT_ROWS = 50


def save_rows(sessions: Sequence[Session], *, instance_id: str, epoch: int) -> None:
    """Write the rows of sessions as they are now, whether they are there already or not.

    No session may be there twice. Written by hand: model instances and `bulk_create` compute for
    three times as long, and while this thread computes, the event loop waits for the interpreter.
    """
    alias = router.db_for_write(models.Session)
    database = connections[alias]
    with transaction.atomic(using=alias), database.cursor() as cursor:
        for start in range(0, len(sessions), STATEMENT_ROWS):
            part = sessions[start : start + STATEMENT_ROWS]
            values: list[Any] = []
            for session in part:
                values += _list_values(session, instance_id, epoch, database)
            cursor.execute(_build_upsert(len(part)), values)


def delete_rows(ids: Sequence[str]) -> None:
    """Delete the rows of sessions, as far as there are any."""
    models.Session.objects.filter(pk__in=ids).delete()


@cache
def _build_upsert(count: int) -> str:
    """One statement for so many rows, which SQLite and PostgreSQL understand."""
    columns = (*FIXED, *CHANGING)
    row = f"({', '.join(['%s'] * len(columns))})"
    changes = ", ".join(f"{column} = EXCLUDED.{column}" for column in CHANGING)
    return (
        # Names of our own, and no value in it.
        f"INSERT INTO {models.Session._meta.db_table} ({', '.join(columns)}) "  # noqa: S608  # nosec B608
        f"VALUES {', '.join([row] * count)} ON CONFLICT (id) DO UPDATE SET {changes}"
    )


def _list_values(session: Session, instance_id: str, epoch: int, database: Any) -> tuple[Any, ...]:
    session.take_counts()
    return (
        _ID.get_db_prep_value(uuid.UUID(session.id), database),
        instance_id,
        _USER.get_db_prep_save(session.user.pk, database) if session.user is not None else None,
        session.topic.partition(":")[0][:31],
        session.topic,
        session.address.replace("\0", "")[:64],
        session.user_agent.replace("\0", "")[:255],
        _convert_time(session.began, database),
        epoch,
        _convert_time(session.ended, database) if session.ended else None,
        session.close_code,
        session.messages_in,
        session.messages_out,
        session.bytes_in,
        session.bytes_out,
        session.errors,
        session.skipped,
        session.waiting_bytes,
    )


def _convert_time(seconds: float, database: Any) -> Any:
    return database.ops.adapt_datetimefield_value(datetime.fromtimestamp(seconds, UTC))


# Columns whose type each database has its own idea of.
_ID = models.Session._meta.get_field("id")
_USER: Any = models.Session._meta.get_field("user")
