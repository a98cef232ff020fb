"""The admin in a real browser, over two instances with sessions of real clients."""

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.demo.conftest import PASSWORD, Visitor, run_python
from tests.servers import Project, RedisServer, Server, start_server

WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
SESSIONS, INSTANCES, TOPICS = (
    f"/admin/realtime/{name}/" for name in ("session", "instance", "livetopic")
)
USERS = ("anna", "ben", "clara", "dora")
# What is waited for comes, or never: so long that a busy machine makes no difference, in seconds.
PATIENCE = 30.0


@dataclass
class Pair:
    """Two instances of a project, and clients that end with the test."""

    servers: list[Server]
    project: Project
    redis: RedisServer
    tokens: dict[str, str]
    cookies: list[Any] = field(default_factory=list)  # of `root`, once signed in
    stack: ExitStack = field(default_factory=ExitStack)

    def open(self, index: int, user: str, topic: str) -> "Client":
        """A subscriber on one of them."""
        url = f"{self.servers[index].ws}/ws/{topic.replace(':', '/')}/"
        headers = {"Authorization": f"Bearer {self.tokens[user]}"}
        connection = connect(url, additional_headers=headers, max_queue=None, open_timeout=PATIENCE)
        client = Client(self.stack.enter_context(connection))
        client.session = client.receive("hello")["session"]
        client.receive("subscribed")
        return client

    def wait_ended(self) -> None:
        """Wait until no session is open any more, as the database has it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with closing(sqlite3.connect(self.project.folder / "db.sqlite3")) as database:
                (count,) = database.execute(
                    "SELECT count(*) FROM realtime_session WHERE closed_at IS NULL"
                ).fetchone()
            if not count:
                return
            assert time.monotonic() < deadline, f"{count} sessions are still open"
            time.sleep(0.05)


@dataclass
class Client:
    """A WebSocket without an event loop, since the browser here has none either."""

    connection: ClientConnection
    session: str = ""

    def receive(self, type: str) -> Any:
        """The next message of that type."""
        while True:
            message = json.loads(self.connection.recv(PATIENCE))
            if message["type"] == type:
                return message

    def publish(self, count: int) -> None:
        """Publish, and wait until all is accepted."""
        for number in range(count):
            self.connection.send(json.dumps({"type": "publish", "ref": number, "data": number}))
        for _ in range(count):
            self.receive("ack")

    def wait_closed(self) -> int:
        """The code that it is closed with."""
        try:
            while True:
                self.connection.recv(PATIENCE)
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd else 1006

    def assert_open(self) -> None:
        assert self.connection.ping().wait(PATIENCE)


@pytest.fixture(scope="module")
def whole_pair(
    make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Two instances with a superuser `root`, for all tests of this file."""
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    project = make_project(REDIS_URL=redis.url, REALTIME_COUNT_SECONDS="0.2")
    code = (
        "import json\nfrom datetime import timedelta\nfrom accounts.models import User\n"
        "from accounts.tokens import issue_access_token\n"
        f"User.objects.create_superuser('root', password={PASSWORD!r})\n"
        f"users, hour = [User.objects.create_user(name) for name in {USERS}], timedelta(hours=1)\n"
        "tokens = {u.username: issue_access_token(user=u, lifetime=hour) for u in users}\n"
        "print(json.dumps(tokens))"
    )
    with ThreadPoolExecutor() as pool:
        tokens = pool.submit(run_python, project, code)
        servers = list(pool.map(start_server, [project] * 2, ["serve"] * 2))
    yield Pair(servers, project, redis, json.loads(tokens.result()))
    for server in servers:
        server.stop(kill=True)
    redis.kill()


@pytest.fixture
def pair(whole_pair: Pair) -> Iterator[Pair]:
    """The instances, without sessions of the test before."""
    with ExitStack() as stack:
        yield replace(whole_pair, stack=stack)
    whole_pair.wait_ended()


@pytest.fixture
def page(pair: Pair, visit: Callable[..., Visitor]) -> Page:
    """A tab of `root` on the first instance."""
    return sign_in(pair, visit(pair.servers[0], viewport=WIDE))


def sign_in(pair: Pair, visitor: Visitor) -> Page:
    page = visitor.open()
    if pair.cookies:
        visitor.context.add_cookies(pair.cookies)
    page.goto(f"{visitor.url}/admin/")
    if not pair.cookies:
        page.get_by_label("Username").fill("root")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Administration")).to_be_visible()
    pair.cookies[:] = visitor.context.cookies()
    return page


def visit_path(page: Page, path: str) -> None:
    page.goto(re.sub(r"/admin/.*", "", page.url) + path)


def rows(page: Page) -> Any:
    return page.locator("#result_list tbody tr")


def expect_rows(page: Page, count: int, path: str) -> None:
    """Look until so many are listed: rows are written in batches."""
    visit_until(page, path, lambda texts: len(texts) == count)


def visit_until(page: Page, path: str, is_shown: Callable[[list[str]], bool]) -> None:
    """Look until the texts of the rows are as they should be."""
    deadline = time.monotonic() + PATIENCE
    while True:
        visit_path(page, path)
        texts = rows(page).all_inner_texts()
        if is_shown(texts):
            return
        assert time.monotonic() < deadline, texts


def run_action(page: Page, title: str) -> None:
    page.get_by_label("Action:").select_option(label=title)
    page.get_by_role("button", name="Go").click()


@pytest.mark.parametrize(("viewport", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_every_page_is_whole_on_any_screen(
    pair: Pair, visit: Callable[..., Visitor], viewport: dict[str, int], scheme: str
) -> None:
    """Also: no complaint in the console, and no request to another origin (`visit` checks)."""
    page = sign_in(pair, visit(pair.servers[0], viewport=viewport, color_scheme=scheme))
    pair.open(0, "anna", "broadcast:screens").publish(3)
    pair.open(1, "ben", "stats:screens")
    expect_rows(page, 1, f"{SESSIONS}?q=broadcast:screens")
    expect_rows(page, 1, f"{SESSIONS}?q=stats:screens")
    for path, heading in (
        ("/admin/", "Administration"),
        (SESSIONS, "Sessions"),
        (f"{SESSIONS}?state=all", "Sessions"),
        (INSTANCES, "Instances"),
        (TOPICS, "Topics"),
    ):
        visit_path(page, path)
        expect(page.get_by_role("heading", name=heading, level=1)).to_be_visible()
        assert_fits(page)
    for path, heading in ((SESSIONS, "Session"), (INSTANCES, "Instance")):
        visit_path(page, path)
        rows(page).first.get_by_role("rowheader").get_by_role("link").click()
        expect(page.get_by_role("heading", name=heading, level=1, exact=True)).to_be_visible()
        assert_fits(page)


def assert_fits(page: Page) -> None:
    """Fail where the page as a whole has to be moved sideways."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url


def test_the_list_is_searched_filtered_and_narrowed_by_a_click(pair: Pair, page: Page) -> None:
    clients = [
        pair.open(0, "anna", "broadcast:hall"),
        pair.open(1, "anna", "stats:hall"),
        pair.open(1, "ben", "broadcast:hall"),
    ]
    clients[2].connection.send("no JSON")
    expect_rows(page, 1, f"{SESSIONS}?trouble=errors")
    expect(rows(page).first).to_contain_text("ben")
    expect_rows(page, 3, SESSIONS)
    page.get_by_role("textbox").fill("anna")
    page.get_by_role("button", name="Search").click()
    expect(rows(page)).to_have_count(2)
    rows(page).get_by_role("link", name="stats:hall").click()
    expect(rows(page)).to_have_count(1)
    expect(page.locator("#changelist-filter")).to_contain_text("By topic")
    visit_path(page, SESSIONS)
    rows(page).get_by_role("link", name="broadcast:hall").first.click()
    expect(rows(page)).to_have_count(2)
    page.get_by_role("link", name="Clear all filters").click()
    expect(rows(page)).to_have_count(3)
    page.get_by_role("link", name="stats", exact=True).click()
    expect(rows(page)).to_have_count(1)
    expect(page.locator("time").first).to_have_attribute("title", re.compile(r"\d\d:\d\d UTC$"))


def test_a_chosen_session_is_disconnected_wherever_it_is(pair: Pair, page: Page) -> None:
    chosen = pair.open(1, "anna", "broadcast:desk")
    other = pair.open(1, "anna", "broadcast:desk")
    expect_rows(page, 1, f"{SESSIONS}?q={chosen.session}")
    rows(page).first.get_by_role("checkbox").check()
    run_action(page, "Disconnect the chosen sessions (4002)")
    expect(page.locator(".messagelist")).to_contain_text("1 session was told to disconnect")
    assert chosen.wait_closed() == 4002
    other.assert_open()
    expect_rows(page, 1, f"{SESSIONS}?state=ended&q={chosen.session}")
    expect(rows(page).first).to_contain_text("4002 disconnected")


def test_all_sessions_of_a_user_end_from_the_page_of_one(pair: Pair, page: Page) -> None:
    clients = [pair.open(0, "clara", "broadcast:a"), pair.open(1, "clara", "stats:b")]
    other = pair.open(1, "anna", "broadcast:a")
    expect_rows(page, 2, f"{SESSIONS}?q=clara")
    rows(page).first.get_by_role("rowheader").get_by_role("link").click()
    page.get_by_role("button", name="Disconnect all sessions of the user").click()
    expect(rows(page)).to_contain_text(["clara2"])
    page.get_by_role("button", name="Disconnect 1 user").click()
    expect(page.locator(".messagelist")).to_contain_text("1 user was told to disconnect")
    assert [client.wait_closed() for client in clients] == [4002, 4002]
    other.assert_open()


def test_a_banned_user_is_out_and_stays_out(pair: Pair, page: Page) -> None:
    clients = [pair.open(0, "dora", "broadcast:a"), pair.open(1, "dora", "broadcast:a")]
    expect_rows(page, 2, f"{SESSIONS}?q=dora")
    page.locator("#action-toggle").check()
    run_action(page, "Ban their users (4505) …")
    expect(page.get_by_role("heading", name="Ban users")).to_be_visible()
    for client in clients:
        client.assert_open()
    page.get_by_role("button", name="Ban 1 user").click()
    expect(page.locator(".messagelist")).to_contain_text("1 user was banned")
    assert [client.wait_closed() for client in clients] == [4505, 4505]
    with pytest.raises((ConnectionClosed, InvalidStatus)):
        pair.open(1, "dora", "broadcast:a")
    visit_path(page, "/admin/")
    expect(page.locator("#recent-actions-module")).to_contain_text("dora")


def test_topics_show_who_listens_how_fast_they_are_and_what_is_kept(pair: Pair, page: Page) -> None:
    publisher = pair.open(0, "anna", "broadcast:busy")
    pair.open(1, "ben", "broadcast:busy")
    publisher.publish(5)
    expect_rows(page, 2, f"{SESSIONS}?q=broadcast:busy")
    expect_rows(page, 1, f"{TOPICS}?q=broadcast:busy")
    publisher.publish(20)
    visit_path(page, f"{TOPICS}?q=broadcast:busy")
    topic, sessions, instances, rate, top, kept, size = (
        rows(page).locator("th, td").all_inner_texts()
    )
    assert (topic, sessions, instances, top, kept) == ("broadcast:busy", "2", "2", "25", "25")
    assert 0 < float(rate) <= 20
    assert size.endswith(" B")
    rows(page).get_by_role("link").click()
    expect(rows(page)).to_have_count(2)


def test_instances_show_their_load_and_lead_to_their_sessions(pair: Pair, page: Page) -> None:
    pair.open(1, "anna", "broadcast:load")
    visit_until(  # the load comes with the first renewal of a lease
        page,
        INSTANCES,
        lambda texts: len(texts) == 2 and all("alive" in t and "MiB" in t for t in texts),
    )
    pid = pair.servers[1].process.pid
    expect_rows(page, 1, f"{SESSIONS}?q=broadcast:load")
    visit_path(page, INSTANCES)
    rows(page).filter(has_text=str(pid)).locator(".field-sessions_ a").click()
    expect(rows(page).filter(has_text="broadcast:load")).to_have_count(1)


def test_without_redis_the_pages_show_what_the_database_knows(pair: Pair, page: Page) -> None:
    """The last test of this file: Redis does not come back."""
    client = pair.open(1, "anna", "broadcast:alone")
    expect_rows(page, 1, f"{TOPICS}?q=broadcast:alone")
    pair.redis.kill()
    visit_path(page, f"{TOPICS}?q=broadcast:alone")
    expect(page.locator(".realtime-note")).to_contain_text("Redis does not answer")
    expect(rows(page)).to_contain_text(["broadcast:alone"])
    visit_path(page, f"{SESSIONS}?q={client.session}")
    rows(page).first.get_by_role("checkbox").check()
    run_action(page, "Disconnect the chosen sessions (4002)")
    expect(page.locator(".messagelist .error")).to_contain_text("cannot be reached")
