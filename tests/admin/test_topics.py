"""The page of topics in use, where no history can be asked; `test_pages.py` has one that can."""

from html import unescape

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from realtime.admin import topics as topics_module
from tests.admin.rows import build_instance, build_session, build_three

LIST = "/admin/realtime/livetopic/"


def read(client: Client, query: str = "") -> str:
    answer = client.get(LIST + query)
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def find_rows(page: str) -> list[list[str]]:
    """The first three cells of each row: topic, sessions, instances."""
    rows = page.partition("<tbody>")[2].partition("</tbody>")[0].split("<tr>")[1:]
    return [
        [row.partition('">')[2].partition("</a>")[0].partition(">")[2]]
        + [cell.partition("<")[0] for cell in row.split('<td class="field-number">')[1:3]]
        for row in rows
    ]


def test_topics_of_live_sessions_are_listed_the_busiest_first(admin_client: Client) -> None:
    build_three()
    one, two = build_instance("one"), build_instance("two")
    for instance, topic in ((one, "stats:b"), (two, "stats:b"), (two, "stats:b"), (one, "echo")):
        build_session(instance, topic)
    build_session(one, "stats:a")
    page = read(admin_client)
    assert find_rows(page) == [
        ["stats:b", "3", "2"],
        ["broadcast:live", "1", "1"],
        ["stats:a", "1", "1"],
    ]
    assert "This process serves no topics" in page
    assert "3 topics" in " ".join(page.split())
    assert '<a href="/admin/realtime/session/?topic=stats%3Ab">stats:b</a>' in page
    by_name = [name for name, *_ in find_rows(read(admin_client, "?order=name"))]
    assert by_name == ["broadcast:live", "stats:a", "stats:b"]
    assert [name for name, *_ in find_rows(read(admin_client, "?q=stats:"))] == [
        "stats:b",
        "stats:a",
    ]
    assert "No live session" in read(admin_client, "?q=nothing:")


def test_a_page_holds_so_many_and_leads_to_the_next(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics_module, "PAGE_SIZE", 2)
    alive = build_instance("alive")
    for number in range(3):
        build_session(alive, f"stats:{number}")
    first = read(admin_client, "?q=stats:&order=name")
    assert [name for name, *_ in find_rows(first)] == ["stats:0", "stats:1"]
    assert '<a href="?q=stats%3A&order=name&p=2">Next</a>' in first
    second = read(admin_client, "?q=stats:&order=name&p=2")
    assert [name for name, *_ in find_rows(second)] == ["stats:2"]
    assert "Previous" in second


def test_a_topic_without_a_history_or_of_no_namespace_says_so(admin_client: Client) -> None:
    alive = build_instance("alive")
    build_session(alive, "gone:a")
    page = read(admin_client)
    assert find_rows(page) == [["gone:a", "1", "1"]]
    assert "no history" in page
    assert "This process serves" not in page  # there is nothing to ask


def test_a_page_takes_as_many_queries_for_any_number_of_topics(admin_client: Client) -> None:
    alive = build_instance("alive")
    counts = []
    for total in (1, 40):
        for number in range(total):
            build_session(alive, f"stats:{number}")
        with CaptureQueriesContext(connection) as captured:
            read(admin_client)
        counts.append(len(captured))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(("permission", "status"), [("view_session", 200), ("view_instance", 403)])
def test_who_may_see_sessions_may_see_their_topics(
    client: Client, db: None, permission: str, status: int
) -> None:
    staff = User.objects.create_user("staff", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename=permission))
    client.force_login(staff)
    assert client.get(LIST).status_code == status
    index = client.get("/admin/").content.decode()
    assert (LIST in index) is (status == 200)
