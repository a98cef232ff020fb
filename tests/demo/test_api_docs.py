"""The page of the REST API, in Chromium: all of it from this server, within its content policy."""

from playwright.sync_api import Browser, Page, expect

from tests.demo.conftest import PATIENCE
from tests.servers import Server


def test_an_operation_is_tried_out_with_a_token_on_a_wide_and_a_narrow_screen(
    browser: Browser, dashboard: Server
) -> None:
    token = dashboard.project.issue_token("anna")
    complaints: list[str] = []
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: note_foreign(request.url, dashboard, complaints))
        page.goto(f"{dashboard.http}/api/docs/")
        publish = page.locator("#operations-Topics-publish")
        expect(publish).to_be_visible()
        page.get_by_role("button", name="Authorize").click()
        page.locator(".auth-container input").fill(token)
        page.locator(".modal-ux .authorize").click()
        page.locator(".modal-ux .btn-done").click()
        publish.locator(".opblock-summary-control").click()
        publish.get_by_placeholder("topic").fill("broadcast:documents")
        publish.get_by_role("button", name="Execute").click()
        answer = publish.locator(".live-responses-table tbody")
        expect(answer.locator(".response-col_status")).to_contain_text("201")
        expect(answer).to_contain_text('"duplicate": false')
        for width in (1440, 375):
            page.set_viewport_size({"width": width, "height": 900})
            assert find_width(page) <= width
    assert complaints == []


def note_foreign(url: str, server: Server, complaints: list[str]) -> None:
    if not url.startswith((server.http, "data:", "blob:")):
        complaints.append(f"a request left the origin: {url}")


def find_width(page: Page) -> int:
    width: int = page.evaluate("document.documentElement.scrollWidth")
    return width
