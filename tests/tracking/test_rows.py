"""Rows of sessions, written many at a time."""

import pytest

from realtime.core.close_codes import CloseCode
from realtime.models import Instance
from realtime.models import Session as Row
from realtime.sessions import Session
from realtime.tracking import rows
from tests.sessions import StubSession, build_identity

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def instance() -> Instance:
    lease_until = "2100-01-01T00:00:00Z"
    return Instance.objects.create(pk="a", host="h", pid=1, lease_until=lease_until)


def save(*sessions: Session, epoch: int = 1) -> None:
    rows.save_rows(sessions, instance_id="a", epoch=epoch)


def test_every_column_of_the_table_is_written() -> None:
    columns = {field.column for field in Row._meta.concrete_fields}
    assert {*rows.FIXED, *rows.CHANGING} == columns


def test_a_row_says_what_the_process_knows() -> None:
    session = StubSession(user_agent="a\0b" * 200, address="x\0" * 70).session
    session.identity, session.began = build_identity(7), 1_700_000_000.5
    save(session)
    row = Row.objects.get(pk=session.id)
    assert (row.user_id, row.namespace, row.topic) == (7, "broadcast", "broadcast:lobby")
    assert (row.instance_id, row.epoch, row.address) == ("a", 1, "x" * 64)
    assert row.user_agent == ("ab" * 200)[:255]
    assert (row.connected_at.timestamp(), row.closed_at) == (session.began, None)


def test_a_row_that_is_there_takes_the_changes() -> None:
    session = StubSession().session
    save(session)
    session.ended, session.close_code = session.began + 2, int(CloseCode.SLOW_CONSUMER)
    session.messages_in, session.bytes_in = 3, 3_000_000_000
    save(session, epoch=2)
    row = Row.objects.get()
    assert row.closed_at is not None
    assert (row.closed_at - row.connected_at).total_seconds() == pytest.approx(2)
    assert (row.epoch, row.close_code) == (2, CloseCode.SLOW_CONSUMER)
    assert (row.messages_in, row.bytes_in) == (3, 3_000_000_000)


def test_more_sessions_than_one_statement_takes_are_all_written() -> None:
    sessions = [StubSession().session for _ in range(2 * rows.STATEMENT_ROWS + 1)]
    save(*sessions)
    assert Row.objects.count() == len(sessions)
