"""The list of sessions: what it shows, how it narrows, and who may end what."""

from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from realtime.admin import sessions as sessions_module
from realtime.core.close_codes import CloseCode
from realtime.core.errors import NotRunning, Unavailable
from realtime.models import Session
from tests.admin.conftest import Told
from tests.admin.rows import build_instance, build_session, build_three

LIST = "/admin/realtime/session/"


def read(client: Client, query: str = "") -> str:
    answer = client.get(LIST + query)
    assert answer.status_code == 200, answer
    return unescape(answer.content.decode())


def find_topics(page: str) -> set[str]:
    """The names of the topics of the rows."""
    rows = page.partition('id="result_list"')[2]
    return {part.partition("<")[0] for part in rows.split(">broadcast:")[1:]}


def run_action(client: Client, action: str, *rows: Session, query: str = "?state=all") -> str:
    data = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    return unescape(client.post(LIST + query, data, follow=True).content.decode())


def confirm(client: Client, deed: str, *users: User, **more: Any) -> Any:
    data = {"deed": deed, "user": [user.pk for user in users], **more}
    return client.post(f"{LIST}users/", data, follow=True)


def make_staff(*permissions: str) -> User:
    staff = User.objects.create_user("staff", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return staff


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", {"live"}),
        ("?state=ended", {"ended", "orphan"}),
        ("?state=all", {"live", "ended", "orphan"}),
        ("?state=all&q=broadcast:or", {"orphan"}),
        ("?topic=broadcast:live", {"live"}),
        ("?instance=dead", set()),
        ("?instance=dead&state=all", {"orphan"}),
        ("?state=all&namespace=broadcast", {"live", "ended", "orphan"}),
        ("?state=all&namespace=stats", set()),
    ],
)
def test_live_sessions_are_listed_first_and_others_on_demand(
    admin_client: Client, query: str, shown: set[str]
) -> None:
    build_three()
    assert find_topics(read(admin_client, query)) == shown


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("?trouble=slow", {"slow"}),
        ("?trouble=errors", {"wrong"}),
        ("?trouble=skipped", {"skipped"}),
        ("?signed_in=yes", {"old"}),
        ("?signed_in=no", {"slow", "wrong", "skipped", "new"}),
        ("?age=new", {"slow", "wrong", "skipped", "new"}),
        ("?age=hour", {"old"}),
        ("?age=day", {"old"}),
        ("?address=10.0.0.7", {"new"}),
        ("?q=10.0.0.", {"new"}),
        ("?q=10.0.0.7 broadcast:n", {"new"}),
        ("?q=10.0.0.7 broadcast:o", set()),
        ("?q=an", {"old"}),
        ("?q=nna", set()),
        ("?user={anna}", {"old"}),
        ("?q={id}", {"old"}),
    ],
)
def test_filters_and_searches_narrow_the_list(
    admin_client: Client, query: str, shown: set[str]
) -> None:
    anna = User.objects.create_user("anna")
    alive = build_instance("alive")
    long_ago = timezone.now() - timedelta(days=2)
    old = build_session(alive, "broadcast:old", user=anna, connected_at=long_ago)
    build_session(alive, "broadcast:slow", waiting_bytes=1)
    build_session(alive, "broadcast:wrong", errors=1)
    build_session(alive, "broadcast:skipped", skipped=1)
    build_session(alive, "broadcast:new", address="10.0.0.7")
    page = read(admin_client, query.format(anna=anna.pk, id=old.pk))
    assert find_topics(page) == shown


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_search_finds_any_number_of_users(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("realtime.admin.search.MAX_USERS", most)
    alive = build_instance("alive")
    for name in ("anna", "anton", "ben"):
        build_session(alive, f"broadcast:{name}", user=User.objects.create_user(name))
    assert find_topics(read(admin_client, "?q=an")) == {"anna", "anton"}


def test_a_cell_narrows_the_list_to_what_it_names(admin_client: Client) -> None:
    anna = User.objects.create_user("anna")
    build_session(build_instance("alive"), user=anna, address="10.0.0.7")
    page = read(admin_client, "?age=new")
    for link in (
        f"?age=new&user={anna.pk}",
        "?age=new&topic=broadcast%3Aa",
        "?address=10.0.0.7&age=new",
        "?age=new&instance=alive",
    ):
        assert f'<a href="{link}">' in page
    assert "By user" not in page
    narrowed = read(admin_client, f"?user={anna.pk}")
    assert "By user" in narrowed
    assert ">anna</a></li>" in narrowed


def test_what_is_no_key_of_a_user_is_no_error_of_the_server(admin_client: Client) -> None:
    answer = admin_client.get(LIST + "?user=x")
    assert (answer.status_code, answer["Location"]) == (302, LIST + "?e=1")


def test_live_sessions_sort_by_counts_and_ended_ones_by_time_only(admin_client: Client) -> None:
    alive = build_instance("alive")
    for count in (5, 300, 7):
        build_session(alive, f"broadcast:{count}", messages_out=count)
    page = read(admin_client, "?o=-8")
    rows = page.partition('id="result_list"')[2]
    assert rows.index(">broadcast:300<") < rows.index(">broadcast:7<") < rows.index(">broadcast:5<")
    assert "?o=8" in page
    build_session(alive, closed_at=timezone.now())
    page = read(admin_client, "?state=ended")
    assert "?o=1&" in page
    assert "?o=8" not in page


def test_numbers_and_times_are_for_people(admin_client: Client) -> None:
    long_ago = timezone.now() - timedelta(hours=5, minutes=7)
    row = build_session(
        build_instance("alive"),
        messages_out=1_234_567,
        bytes_out=12_345_678,
        waiting_bytes=70_000,
        connected_at=long_ago,
        closed_at=None,
    )
    build_session(row.instance, closed_at=timezone.now(), close_code=4002)
    page = read(admin_client)
    assert ">1,234,567<" in page
    assert '<span title="12,345,678 bytes">11.8 MiB</span>' in page
    assert '<strong class="realtime-slow"><span title="70,000 bytes">68.4 KiB</span>' in page
    assert f'title="{long_ago:%Y-%m-%d %H:%M:%S} UTC">5 h ago</time>' in page
    assert "4002 disconnected" in read(admin_client, "?state=ended")


def test_where_nothing_live_is_found_it_leads_to_the_ended_ones(admin_client: Client) -> None:
    build_three()
    page = read(admin_client, "?q=broadcast:ended")
    assert "No live session is like that" in page
    assert '<a href="?q=broadcast%3Aended&state=ended">' in page


@pytest.mark.parametrize("query", ["", "?state=all"])
def test_a_list_of_any_length_takes_as_many_queries(admin_client: Client, query: str) -> None:
    alive = build_instance("alive")

    def add(count: int) -> None:
        for _ in range(count):
            number = User.objects.count()
            build_session(alive, user=User.objects.create_user(f"user{number}"))

    add(1)
    with_one = measure_queries(admin_client, query)
    add(99)
    assert measure_queries(admin_client, query) == with_one


def measure_queries(client: Client, query: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        read(client, query)
    return len(captured)


# Disconnecting


def test_the_action_tells_only_live_sessions(admin_client: Client, told: Told) -> None:
    rows = build_three()
    page = run_action(admin_client, "disconnect_sessions", *rows.values())
    assert "1 session was told to disconnect" in page
    assert told.sessions == [str(rows["live"].pk)]
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.user.username) == (str(rows["live"].pk), "admin")
    assert entry.get_change_message() == "Disconnected."
    history = admin_client.get(f"{LIST}{rows['live'].pk}/history/").content.decode()
    assert "Disconnected." in history


def test_all_that_match_are_disconnected_up_to_a_number(
    admin_client: Client, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "MAX_SESSIONS", 3)
    alive = build_instance("alive")
    rows = [build_session(alive, f"broadcast:{number}") for number in range(5)]
    data = {"action": "disconnect_sessions", "select_across": 1, "_selected_action": rows[0].pk}
    page = admin_client.post(LIST, data, follow=True).content.decode()
    assert "3 sessions were told" in page
    assert "There are more" in page
    assert len(told.sessions) == 3


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (Unavailable("Redis is away"), "Other instances cannot be reached: Redis is away"),
        (NotRunning("nobody hears"), "This process reaches no server"),
    ],
)
def test_who_cannot_be_reached_is_told_about(
    admin_client: Client, told: Told, failure: Exception, text: str
) -> None:
    told.failure = failure
    page = run_action(admin_client, "disconnect_sessions", *build_three().values())
    assert text in page
    assert "0 sessions" in page
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("may_disconnect", [True, False])
def test_the_action_needs_its_permission(
    client: Client, db: None, told: Told, may_disconnect: bool
) -> None:
    client.force_login(
        make_staff("view_session", *(["disconnect_session"] if may_disconnect else []))
    )
    rows = build_three()
    page = read(client)
    assert ('value="disconnect_sessions"' in page) is may_disconnect
    assert 'value="ban_users"' not in page
    run_action(client, "disconnect_sessions", *rows.values())
    assert len(told.sessions) == may_disconnect


# Users


def test_all_sessions_of_the_users_end_after_a_question(admin_client: Client, told: Told) -> None:
    anna, ben = User.objects.create_user("anna"), User.objects.create_user("ben")
    alive = build_instance("alive")
    chosen = build_session(alive, user=anna)
    build_session(alive, "stats:b", user=anna)
    build_session(alive, user=ben)
    anonymous = build_session(alive)
    page = run_action(
        admin_client, "disconnect_users", chosen, anonymous, query="?topic=broadcast:a"
    )
    assert "<th>anna" in page
    assert '<td class="field-number">2</td>' in page
    assert "<th>ben" not in page
    assert not told.users
    answer = confirm(admin_client, "disconnect", anna, filters="topic=broadcast%3Aa")
    assert answer.redirect_chain == [(LIST + "?topic=broadcast%3Aa", 302)]
    assert "1 user was told to disconnect everywhere" in answer.content.decode()
    assert told.users == [("anna", CloseCode.DISCONNECTED)]
    entry = LogEntry.objects.get()
    assert (entry.object_repr, entry.get_change_message()) == (
        "anna",
        "Disconnected all live sessions.",
    )


def test_banned_users_are_inactive_and_their_sessions_end(admin_client: Client, told: Told) -> None:
    anna = User.objects.create_user("anna")
    row = build_session(build_instance("alive"), user=anna)
    assert "cannot sign in again" in run_action(admin_client, "ban_users", row)
    anna.refresh_from_db()
    assert anna.is_active
    answer = confirm(admin_client, "ban", anna)
    assert "1 user was banned" in answer.content.decode()
    version = anna.token_version
    anna.refresh_from_db()
    assert not anna.is_active
    assert anna.token_version > version  # saved by the model's own method
    assert told.users == [("anna", CloseCode.REVOKED)]
    entry = LogEntry.objects.get()
    assert (entry.object_repr, entry.get_change_message()) == ("anna", "Banned: deactivated.")


def test_users_stay_banned_where_their_sessions_cannot_be_reached(
    admin_client: Client, told: Told
) -> None:
    anna = User.objects.create_user("anna")
    told.failure = Unavailable("Redis is away")
    page = confirm(admin_client, "ban", anna).content.decode()
    assert "1 user was banned" in page
    assert "Redis is away" in page
    anna.refresh_from_db()
    assert not anna.is_active


def test_nobody_bans_himself_or_above_himself(client: Client, db: None, told: Told) -> None:
    staff = make_staff("view_session", "change_user")
    root = User.objects.create_superuser("root")
    anna = User.objects.create_user("anna")
    client.force_login(staff)
    alive = build_instance("alive")
    rows = [build_session(alive, user=user) for user in (staff, root, anna)]
    page = run_action(client, "ban_users", *rows)
    assert "You cannot ban yourself" in page
    assert "Only a superuser bans a superuser" in page
    assert "Ban 1 user<" in page
    assert "You cannot ban yourself" in run_action(client, "ban_users", rows[0])
    confirm(client, "ban", staff, root, anna)
    assert told.users == [("anna", CloseCode.REVOKED)]
    assert set(User.objects.filter(is_active=True)) == {staff, root}


def test_anonymous_sessions_have_no_user_to_ban(admin_client: Client, told: Told) -> None:
    row = build_session(build_instance("alive"))
    assert "None of the chosen sessions is signed in" in run_action(admin_client, "ban_users", row)


@pytest.mark.parametrize("deed", ["ban", "disconnect"])
def test_what_is_confirmed_needs_its_permission_too(
    client: Client, db: None, told: Told, deed: str
) -> None:
    other = {"ban": "disconnect_session", "disconnect": "change_user"}[deed]
    client.force_login(make_staff("view_session", other))
    anna = User.objects.create_user("anna")
    assert confirm(client, deed, anna).status_code == 403
    assert not told.users


def test_a_malformed_confirmation_is_a_bad_request(admin_client: Client, told: Told) -> None:
    assert admin_client.get(f"{LIST}users/").status_code == 405
    assert confirm(admin_client, "promote").status_code == 400
    for key in ("x", "9" * 30, "1\0"):
        data = {"deed": "ban", "user": key}
        assert admin_client.post(f"{LIST}users/", data).status_code == 400


# What strangers wrote


EVIL = """"'><img src=x onerror=alert(1)></script><script>alert(2)</script>"""


def test_what_clients_wrote_is_text_on_every_page(admin_client: Client, told: Told) -> None:
    alive = build_instance("alive", host=f"host{EVIL}", version=EVIL)
    evil = User.objects.create_user(EVIL)
    columns = {"user_agent": EVIL, "address": EVIL[:64], "errors": 1, "waiting_bytes": 1}
    row = build_session(alive, f"broadcast:{EVIL}", user=evil, **columns)
    anonymous = build_session(alive, f"broadcast:{EVIL}", **columns)
    paths = [
        LIST,
        *(f"{LIST}?{name}={quote(EVIL)}" for name in ("topic", "address", "instance", "q")),
        f"{LIST}?user={evil.pk}",
        f"{LIST}{row.pk}/change/",
        f"{LIST}{anonymous.pk}/change/",
        "/admin/realtime/instance/",
        "/admin/realtime/instance/alive/change/",
        f"/admin/accounts/user/{evil.pk}/change/",
    ]
    pages = [admin_client.get(path, follow=True) for path in paths]
    for deed in ("ban_users", "disconnect_users", "disconnect_sessions"):
        data = {"action": deed, "_selected_action": [str(row.pk)]}
        pages.append(admin_client.post(LIST, data, follow=True))
    pages.append(confirm(admin_client, "ban", evil, filters=EVIL))
    for page in pages:
        assert page.status_code == 200
        assert "<img src=x" not in page.text
        assert "<script>alert" not in page.text
        assert "default-src 'self'" in page["Content-Security-Policy"]


def test_another_site_cannot_end_anything(root: Client, told: Told) -> None:
    row = build_session(build_instance("alive"), user=User.objects.create_user("anna"))
    data = {"action": "disconnect_sessions", "_selected_action": [str(row.pk)]}
    for path, form in (
        (LIST, data),
        (f"{LIST}users/", {"deed": "ban", "user": [row.user_id]}),
    ):
        assert root.post(path, form).status_code == 403
        assert root.get(path, form).status_code in (302, 405)
    assert not told.sessions
    assert User.objects.get(username="anna").is_active


@pytest.fixture
def root(db: None) -> Client:
    """A superuser in a browser that a foreign page has send forms."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.mark.parametrize("path", [LIST, "/admin/realtime/instance/", "/admin/realtime/livetopic/"])
def test_a_zero_byte_in_a_query_is_a_bad_request(admin_client: Client, path: str) -> None:
    """For PostgreSQL it would be an error of the server."""
    for query in ("?topic=%00", "?q=a%00", "?instance=%00"):
        assert admin_client.get(path + query).status_code == 400


# One session


@pytest.mark.parametrize("path", ["add/", "{pk}/delete/"])
def test_people_read_rows_and_never_write_them(admin_client: Client, path: str) -> None:
    pk = build_three()["live"].pk
    assert admin_client.get(LIST + path.format(pk=pk)).status_code == 403
    answer: Any = admin_client.post(f"{LIST}{pk}/change/", {"topic": "x"})
    assert answer.status_code == 403


def test_the_page_of_a_session_offers_what_is_possible(admin_client: Client, told: Told) -> None:
    rows = build_three()
    anna = User.objects.create_user("anna")
    signed_in = build_session(rows["live"].instance, user=anna)

    def find_buttons(row: Session) -> set[str]:
        page = admin_client.get(f"{LIST}{row.pk}/change/").content.decode()
        return {
            name
            for name in ("disconnect_sessions", "disconnect_users", "ban_users")
            if f'value="{name}"' in page
        }

    assert find_buttons(rows["live"]) == {"disconnect_sessions"}
    assert find_buttons(rows["ended"]) == set()
    assert find_buttons(signed_in) == {"disconnect_sessions", "disconnect_users", "ban_users"}
    page = run_action(
        admin_client, "disconnect_sessions", signed_in, query=f"?state=all&q={signed_in.pk}"
    )
    assert find_topics(page) == {"a"}
    assert told.sessions == [str(signed_in.pk)]
