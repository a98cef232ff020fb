"""The list of server processes."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tests.admin.rows import build_instance, build_session

LIST = "/admin/realtime/instance/"


def read(client: Client, path: str = "") -> str:
    answer = client.get(LIST + path)
    assert answer.status_code == 200
    return answer.content.decode()


def test_those_alive_come_first_with_their_load(admin_client: Client) -> None:
    now = timezone.now()
    build_instance("lost", lease_until=now - timedelta(seconds=7), cpu=0.99)
    build_instance("dead", ended_at=now - timedelta(minutes=2), alive=False)
    build_instance(
        "alive",
        version="1.2.3",
        cpu=0.345,
        memory=123 * 1024 * 1024,
        loop_delay=0.0123,
        messages_in_rate=12.345,
        messages_out_rate=1234.5,
        session_count=1234,
        started_at=now - timedelta(hours=3),
    )
    page = read(admin_client)
    assert page.index("host-alive") < min(page.index("host-lost"), page.index("host-dead"))
    for text in (">alive<", "34%", "123 MiB", "12 ms", ">12<", ">1,234<", "1.2.3", "3 h ago"):
        assert text in page, text
    lost = re.search(r"lost for (\d+) s", page)
    assert lost is not None
    assert 7 <= int(lost[1]) <= 7 + (timezone.now() - now).total_seconds()
    assert "2 min ago" in page
    assert "99%" not in page  # the load of one that is lost is not that of now
    assert '<a href="/admin/realtime/session/?instance=alive">1,234</a>' in page


def test_an_instance_says_of_how_many_ended_sessions_it_kept_no_row(admin_client: Client) -> None:
    build_instance("dead", alive=False, ended_at=timezone.now(), unkept_count=98_765)
    assert "98,765" in read(admin_client)
    assert "98,765" in read(admin_client, "dead/change/")


def test_those_that_ended_long_ago_are_shown_on_demand(admin_client: Client) -> None:
    build_instance("old", alive=False, ended_at=timezone.now() - timedelta(hours=2))
    assert "host-old" not in read(admin_client)
    assert "host-old" in read(admin_client, "?state=all")
    assert "host-old" in read(admin_client, "?state=all&q=host-o")


@pytest.mark.parametrize("path", ["add/", "alive/delete/"])
def test_nobody_writes_them(admin_client: Client, path: str) -> None:
    build_instance("alive")
    assert admin_client.get(LIST + path).status_code == 403
    assert "host-alive" in read(admin_client, "alive/change/")


def test_the_sessions_of_an_instance_are_one_click_away(admin_client: Client) -> None:
    dead = build_instance("dead", alive=False, ended_at=timezone.now(), session_count=1)
    build_session(dead, "broadcast:orphan", closed_at=timezone.now())
    link = "/admin/realtime/session/?instance=dead&amp;state=all"
    assert link in read(admin_client)
    page = admin_client.get(link.replace("&amp;", "&")).content.decode()
    assert ">broadcast:orphan<" in page
