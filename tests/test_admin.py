"""Sessions in Django's admin: what it lists, and who may end what."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from accounts.models import User
from realtime import admin as admin_module
from realtime.core.errors import Unavailable
from realtime.models import Instance, Session

LIST = "/admin/realtime/session/"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sessions that were told to disconnect."""
    sessions: list[str] = []
    monkeypatch.setattr(admin_module, "disconnect", lambda *, session: sessions.append(session))
    return sessions


def build_rows() -> dict[str, Session]:
    """A live session, an ended one, and one whose instance died."""
    now = timezone.now()
    alive = Instance.objects.create(
        id="alive", host="h", pid=1, lease_until=now + timedelta(minutes=1)
    )
    dead = Instance.objects.create(
        id="dead", host="h", pid=2, lease_until=now - timedelta(minutes=1)
    )
    rows = {
        "live": Session(instance=alive),
        "ended": Session(instance=alive, closed_at=now, close_code=1000),
        "orphan": Session(instance=dead),
    }
    for number, (name, row) in enumerate(rows.items()):
        row.id = f"00000000-0000-4000-8000-00000000000{number}"  # type: ignore[assignment]
        row.topic = f"broadcast:{name}"
        row.connected_at = now
        row.save()
    return rows


def run_action(client: Client, rows: dict[str, Session]) -> str:
    answer = client.post(
        LIST + "?state=all",
        {
            "action": "disconnect_sessions",
            "_selected_action": [str(row.pk) for row in rows.values()],
        },
        follow=True,
    )
    return answer.content.decode()


def find_topics(page: str) -> set[str]:
    """The names of the sessions that the list shows."""
    rows = page.partition('id="result_list"')[2]
    return {name for name in ("live", "ended", "orphan") if f"broadcast:{name}<" in rows}


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", {"live"}),
        ("?state=ended", {"ended", "orphan"}),
        ("?state=all", {"live", "ended", "orphan"}),
        ("?state=all&q=orphan", {"orphan"}),
    ],
)
def test_live_sessions_are_listed_first_and_others_on_demand(
    admin_client: Client, query: str, shown: set[str]
) -> None:
    build_rows()
    assert find_topics(admin_client.get(LIST + query).content.decode()) == shown


def test_the_action_tells_only_live_sessions(admin_client: Client, told: list[str]) -> None:
    rows = build_rows()
    assert "1 session was told to disconnect" in run_action(admin_client, rows)
    assert told == [str(rows["live"].pk)]


def test_unreachable_instances_are_told_about(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*, session: str) -> None:
        raise Unavailable("Redis is away")

    monkeypatch.setattr(admin_module, "disconnect", fail)
    page = run_action(admin_client, build_rows())
    assert "Other instances cannot be reached: Redis is away" in page
    assert "0 sessions" in page


@pytest.mark.parametrize("may_disconnect", [True, False])
def test_the_action_needs_its_permission(
    client: Client, db: None, told: list[str], may_disconnect: bool
) -> None:
    staff = User.objects.create_user("staff", is_staff=True)
    names = ["view_session", *(["disconnect_session"] if may_disconnect else [])]
    staff.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(staff)
    rows = build_rows()
    assert ("disconnect_sessions" in client.get(LIST).content.decode()) is may_disconnect
    run_action(client, rows)
    assert len(told) == may_disconnect


@pytest.mark.parametrize("path", ["add/", "{pk}/delete/"])
def test_people_read_rows_and_never_write_them(admin_client: Client, path: str) -> None:
    pk = build_rows()["live"].pk
    assert admin_client.get(LIST + path.format(pk=pk)).status_code == 403
    answer: Any = admin_client.post(f"{LIST}{pk}/change/", {"topic": "x"})
    assert answer.status_code == 403
    assert admin_client.get(f"{LIST}{pk}/change/").status_code == 200


def test_instances_are_listed(admin_client: Client) -> None:
    build_rows()
    page = admin_client.get("/admin/realtime/instance/").content.decode()
    assert ">alive<" in page
    assert ">dead<" in page
