"""A real Chromium, and pages of the dashboard in it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.servers import Project, Server, start_server

PASSWORD = "correct horse battery"  # of users that live as long as a test
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
]
FEED = ("--background", "demo.feed.publish_host_metrics")

# Waiting for what a server publishes each second takes longer than Playwright's default, and a
# busy machine is slow at times.
PATIENCE = 45_000  # ms
expect.set_options(timeout=PATIENCE)


# Not for the whole package: while it runs, asynchronous tests have no event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a file; each test has a context of its own."""
    chromium = shutil.which("chromium")
    assert chromium, "these tests need Debian's package chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def make_dashboard(make_project: Callable[..., Project]) -> Callable[..., Project]:
    """Makes a project with the users `anna` and `ben`; keywords are environment variables."""

    def make(**environment: str) -> Project:
        project = make_project(**environment)
        run_python(
            project,
            "from django.contrib.auth import get_user_model as g\n"
            "for name in ('anna', 'ben'):\n"
            f"    g().objects.create_user(name, password={PASSWORD!r})",
        )
        return project

    return make


@pytest.fixture(scope="package")
def dashboard(make_dashboard: Callable[..., Project]) -> Iterator[Server]:
    """A server with its feed, as `make run` starts it."""
    server = start_server(make_dashboard(), "serve", *FEED)
    yield server
    server.stop()


def run_python(project: Project, code: str) -> str:
    """Run code in a shell of the project, a process of its own."""
    return project.manage("shell", "--verbosity", "0", "--command", code)


@dataclass
class Visitor:
    """A browser profile of its own, and everything in it that was not as it should be."""

    context: BrowserContext
    url: str
    complaints: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()  # parts of complaints that a test brings about

    def open(self) -> Page:
        """A tab with the dashboard."""
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))
        page.on("request", lambda request: self._look_at(request.url))
        page.on("websocket", lambda socket: self._look_at(socket.url.replace("ws", "http", 1)))
        page.goto(self.url)
        return page

    def sign_in(self, username: str) -> Page:
        """A tab, signed in and live."""
        page = self.open()
        page.get_by_label("User name").fill(username)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        wait_live(page)
        return page

    def assert_content(self) -> None:
        """Fail where the console complained, or a request left the origin."""
        unexpected = [
            text for text in self.complaints if not any(part in text for part in self.expected)
        ]
        assert unexpected == []

    def _note(self, type: str, text: str) -> None:
        if type in ("error", "warning"):
            self.complaints.append(text)

    def _look_at(self, url: str) -> None:
        if not url.startswith((self.url, "data:")):
            self.complaints.append(f"a request left the origin: {url}")


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """`visit(server, color_scheme="dark")`: keywords are Playwright's of a browser context."""
    visitors: list[Visitor] = []
    with ExitStack() as stack:

        def make(server: Server, **options: object) -> Visitor:
            context = stack.enter_context(browser.new_context(**options))
            visitors.append(Visitor(context, server.http))
            return visitors[-1]

        yield make
    for visitor in visitors:
        visitor.assert_content()


def wait_live(page: Page) -> None:
    """Until every stream of the page is live."""
    expect(page.locator("#overall")).to_have_text("Live")


def say(page: Page, text: str) -> None:
    """Write a message into the lobby."""
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send", exact=True).click()
