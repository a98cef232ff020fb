"""Rows of ended sessions go when they are old."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from realtime.models import Instance, Session
from realtime.tracking import prune_sessions, retention
from realtime.tracking.retention import limit_sessions
from realtime.tracking.rows import save_rows
from tests.sessions import StubSession

pytestmark = pytest.mark.django_db


def add_session(instance: Instance, closed_at: datetime | None) -> Session:
    session = StubSession().session
    session.ended = closed_at.timestamp() if closed_at else None
    save_rows([session], instance_id=instance.pk, epoch=1)
    return Session.objects.get(pk=session.id)


@pytest.fixture
def rows() -> dict[str, Session]:
    """A live session, one that ended a day ago, and one that ended forty days ago."""
    now = timezone.now()
    later = now + timedelta(seconds=60)
    alive = Instance.objects.create(pk="alive", host="h", pid=1, lease_until=later)
    ended = now - timedelta(days=40)
    gone = Instance.objects.create(pk="gone", host="h", pid=2, lease_until=ended, ended_at=ended)
    return {
        "live": add_session(alive, None),
        "recent": add_session(alive, now - timedelta(days=1)),
        "old": add_session(gone, ended),
    }


def list_kept(rows: dict[str, Session]) -> list[str]:
    kept = set(Session.objects.values_list("pk", flat=True))
    return [name for name, row in rows.items() if row.pk in kept]


def test_old_ones_go_with_an_instance_that_has_none_any_more(rows: dict[str, Session]) -> None:
    assert prune_sessions(timedelta(days=30)) == 1
    assert list_kept(rows) == ["live", "recent"]
    assert [row.pk for row in Instance.objects.all()] == ["alive"]


def test_live_ones_stay_however_old(rows: dict[str, Session]) -> None:
    assert prune_sessions(timedelta(0)) == 2
    assert list_kept(rows) == ["live"]


def test_many_go_in_batches(rows: dict[str, Session], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_SIZE", 2)
    instance = Instance.objects.get(pk="gone")
    for _ in range(5):
        add_session(instance, timezone.now() - timedelta(days=50))
    assert prune_sessions(timedelta(days=30)) == 6
    assert list_kept(rows) == ["live", "recent"]


def test_too_many_go_beginning_with_those_that_ended_first(
    rows: dict[str, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_SIZE", 2)
    instance = Instance.objects.get(pk="alive")
    for _ in range(5):
        add_session(instance, timezone.now() - timedelta(days=20))
    assert limit_sessions(7) == 0
    assert limit_sessions(4) == 3
    assert list_kept(rows) == ["live", "recent"]
    assert limit_sessions(1) == 3
    assert (list_kept(rows), Session.objects.count()) == (["live", "recent"], 2)


def test_the_command_takes_the_age_of_the_settings_or_its_own(
    rows: dict[str, Session], capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("prune_sessions")
    assert list_kept(rows) == ["live", "recent"]
    call_command("prune_sessions", "--days", "0.5")
    assert list_kept(rows) == ["live"]
    assert capsys.readouterr().out.splitlines() == ["1 ended sessions deleted"] * 2


@pytest.mark.parametrize("days", ["-1", "many", "1e300", "nan"])
def test_the_command_refuses_what_is_no_age(days: str) -> None:
    with pytest.raises(CommandError):
        call_command("prune_sessions", f"--days={days}")


def test_the_command_wants_an_age_where_the_settings_keep_them_for_ever(
    settings: Any,
) -> None:
    settings.REALTIME = {**settings.REALTIME, "SESSION_RETENTION_DAYS": 0.0}
    with pytest.raises(CommandError, match="give --days"):
        call_command("prune_sessions")
