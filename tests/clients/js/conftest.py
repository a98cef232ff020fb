"""A Chromium, and pages in it that use the JavaScript client as the server delivers it."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.clients.conftest import sign_again
from tests.servers import Project, RedisServer, Server, start_server

CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
]
PATIENCE = 60.0  # s; what a busy machine may need for what is done at once else
MAKE_ANNA = """
from django.contrib.auth import get_user_model
from django.core.management import call_command
get_user_model().objects.create_user("anna", password="secret")
call_command("issue_token", "anna")
"""
OPEN = """async ([path, token, options]) => {
    window.realtime = await import("/static/realtime/realtime.js");
    const defaults = {token: window.giveToken ?? token, backoff: {base: 100, cap: 1000}};
    window.stream = realtime.connect(path, {...defaults, ...options});
    window.seen = {state: [], publication: [], gap: [], error: [], refreshed: [], binary: []};
    for (const [type, details] of Object.entries(seen))
        stream.addEventListener(type, (event) => details.push(event.detail));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "these tests need Debian's package chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=CHROMIUM_OPTIONS,
            # Playwright's own, which no browser of a user has.
            ignore_default_args=["--disable-back-forward-cache"],
            timeout=PATIENCE * 1000,
        )
        yield browser
        browser.close()


class Tab:
    """A page of a server, with `stream` and what it dispatched (`seen`) in it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self, path: str, token: str | None = None, **options: Any) -> None:
        """Connect, with the page's function `giveToken` where there is one."""
        self.page.evaluate(OPEN, [path, token, options])

    def run(self, code: str) -> Any:
        """The value of an expression; a promise is awaited."""
        return self.page.evaluate(f"async () => {code}")

    def wait(self, condition: str) -> None:
        """Until an expression holds."""
        self.page.wait_for_function(f"() => {condition}", polling=20)

    @property
    def states(self) -> list[str]:
        return [change["state"] for change in self.run("seen.state")]

    @property
    def data(self) -> list[Any]:
        return [publication["data"] for publication in self.run("seen.publication")]


OpenTab = Callable[[str], Tab]


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Callable[[str], Tab]]:
    """`open_tab(origin)`: an empty page of that server."""
    contexts = []

    def open_one(origin: str) -> Tab:
        # Playwright itself polls by eval, which the server's policy forbids.
        context = browser.new_context(bypass_csp=True)
        context.set_default_timeout(PATIENCE * 1000)
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{origin}/livez")
        return Tab(page)

    yield open_one
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def quick_project(make_project: Callable[..., Project]) -> Project:
    """Short frames, frequent pings, 1 s of grace for old tokens."""
    return make_project(
        REALTIME_MAX_FRAME_BYTES="65536",
        REALTIME_PING_INTERVAL="1",
        REALTIME_EXPIRY_GRACE="1",
        REALTIME_MESSAGES_PER_SECOND="0",
        REALTIME_BYTES_PER_SECOND="0",
    )


@pytest.fixture(scope="session")
def quick_token(quick_project: Project) -> str:
    """A token of `anna`, whose password is `secret`."""
    return quick_project.manage("shell", "--verbosity", "0", "--command", MAKE_ANNA).strip()


@pytest.fixture(scope="session")
def quick_server(quick_project: Project, quick_token: str) -> Iterator[Server]:
    """A server that knows `anna`."""
    server = start_server(quick_project, "serve")
    yield server
    server.stop(kill=True)


@pytest.fixture
def sign(quick_project: Project, quick_token: str) -> Callable[[float], str]:
    """A token of `anna` that ends so many seconds from now."""
    return lambda seconds: sign_again(quick_project, quick_token, seconds)


@pytest.fixture
def redis_project(quick_project: Project, redis: RedisServer) -> Project:
    """A project whose history outlives its servers."""
    return quick_project.with_environment(REDIS_URL=redis.url)
