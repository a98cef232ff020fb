"""The page in a real Chromium, against a real server with its feed."""

import re
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.servers import Project, Server, start_server

AT_LEAST_THREE = re.compile(r"[3-9]|\d{2,}")
PASSWORD = "correct horse battery"  # of users that live as long as this test
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
]


@pytest.fixture(scope="module")
def page_server(make_project: Callable[..., Project]) -> Iterator[Server]:
    project = make_project()
    for name in ("anna", "ben"):
        project.manage(
            "shell",
            "--command",
            "from django.contrib.auth import get_user_model as g;"
            f"g().objects.create_user({name!r}, password={PASSWORD!r})",
        )
    server = start_server(project, "serve", "--background", "demo.feed.publish_host_metrics")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "these tests need Debian's package chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


# Waiting for what a server publishes each second takes longer than Playwright's default.
expect.set_options(timeout=15_000)


@pytest.fixture
def open_page(browser: Browser, page_server: Server) -> Iterator[Callable[[str], Page]]:
    """Opens the page and signs in; the test fails where the console or the network complains."""
    complaints: list[str] = []
    contexts = []

    def open_as(username: str) -> Page:
        context = browser.new_context()
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else 0
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((page_server.http, "data:"))
                else complaints.append(f"a request left the origin: {request.url}")
            ),
        )
        page.goto(page_server.http)
        page.get_by_test_id("username").fill(username)
        page.get_by_test_id("password").fill(PASSWORD)
        page.get_by_test_id("submit").click()
        expect(page.get_by_test_id("user-name")).to_have_text(username)
        return page

    yield open_as
    for context in contexts:
        context.close()
    assert complaints == []


def test_two_pages_chat(open_page: Callable[[str], Page]) -> None:
    first, second = open_page("anna"), open_page("ben")
    for page in (first, second):
        expect(page.get_by_test_id("lobby-panel")).to_have_attribute("data-state", "live")
    first.get_by_test_id("lobby-input").fill("hello Ben")
    first.get_by_test_id("lobby-send").click()
    expect(second.get_by_test_id("lobby-list")).to_contain_text("hello Ben")
    second.get_by_test_id("lobby-input").fill("hello Anna")
    second.get_by_test_id("lobby-send").click()
    expect(first.get_by_test_id("lobby-list")).to_contain_text("hello Anna")


def test_the_chart_moves_and_the_array_is_drawn(open_page: Callable[[str], Page]) -> None:
    page = open_page("anna")
    chart = page.get_by_test_id("chart-panel")
    expect(chart).to_have_attribute("data-state", "live")
    expect(chart).to_have_attribute("data-points", AT_LEAST_THREE)
    expect(page.get_by_test_id("chart-value")).to_contain_text("%")
    expect(page.get_by_test_id("array-panel")).to_have_attribute("data-frames", AT_LEAST_THREE)
    expect(page.get_by_test_id("array-info")).to_contain_text("float32")
    colours = page.evaluate(
        """() => {
            const canvas = document.querySelector('[data-testid=array-canvas]');
            const pixels = canvas.getContext('2d')
                .getImageData(0, 0, canvas.width, canvas.height).data;
            const seen = new Set();
            for (let i = 0; i < pixels.length; i += 4)
                seen.add(pixels.slice(i, i + 4).join());
            return seen.size;
        }"""
    )
    assert colours > 1


def test_an_echo_comes_back_with_its_round_trip(open_page: Callable[[str], Page]) -> None:
    page = open_page("anna")
    expect(page.get_by_test_id("echo-panel")).to_have_attribute("data-state", "live")
    page.get_by_test_id("echo-input").fill("is anybody there?")
    page.get_by_test_id("echo-send").click()
    expect(page.get_by_test_id("echo-result")).to_contain_text("is anybody there?")
    expect(page.get_by_test_id("echo-result")).to_contain_text("ms")


def test_signing_out_ends_every_panel(open_page: Callable[[str], Page]) -> None:
    page = open_page("anna")
    expect(page.get_by_test_id("lobby-panel")).to_have_attribute("data-state", "live")
    page.get_by_test_id("sign-out").click()
    expect(page.get_by_test_id("username")).to_be_visible()
