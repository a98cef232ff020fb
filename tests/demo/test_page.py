"""The dashboard in a real Chromium, against a real server with its feed."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.demo.conftest import Visitor, say, wait_live
from tests.servers import Server

Visit = Callable[..., Visitor]
MANY = re.compile(r"\d{2,}")
# Keeps what the page shows of its connection, at each change.
RECORD = """() => {
    const read = (selector) => document.querySelector(selector)?.textContent;
    window.shown = [];
    new MutationObserver(() => {
        shown.push({unsent: read(".unsent"), overall: read("#overall")});
    }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


@pytest.fixture(scope="module")
def visitor(browser: Browser, dashboard: Server) -> Iterator[Visitor]:
    """Anna, who stays signed in."""
    with browser.new_context() as context:
        visitor = Visitor(context, dashboard.http)
        visitor.sign_in("anna").close()
        yield visitor


@pytest.fixture
def page(visitor: Visitor) -> Iterator[Page]:
    """A fresh tab of hers."""
    page = visitor.open()
    wait_live(page)
    yield page
    page.close()
    visitor.assert_content()


def test_two_people_talk_and_see_each_other_come_and_go(visit: Visit, dashboard: Server) -> None:
    anna, ben = visit(dashboard).sign_in("anna"), visit(dashboard).sign_in("ben")
    expect(anna.locator("#people")).to_contain_text("ben")
    expect(ben.locator("#people")).to_contain_text("anna")
    expect(anna.locator("#messages")).to_contain_text("ben came in")
    say(anna, "hello Ben")
    expect(ben.locator("#messages")).to_contain_text("hello Ben")
    say(ben, "hello <b>Anna</b>")
    expect(anna.locator("#messages")).to_contain_text("hello <b>Anna</b>")
    # Its writer sees it once, and not as still on its way.
    expect(ben.locator(".said", has_text="hello <b>Anna</b>")).to_have_count(1)
    expect(ben.locator(".unsent")).to_have_count(0)
    ben.close()
    expect(anna.locator("#messages")).to_contain_text("ben left")
    expect(anna.locator("#people")).not_to_contain_text("ben")


def test_a_second_tab_is_signed_in_already_and_is_the_same_person(
    visitor: Visitor, page: Page
) -> None:
    second = visitor.open()
    expect(page.locator("#people li", has_text="anna")).to_have_count(1)
    expect(page.locator("#people")).to_contain_text("2 tabs")
    second.close()
    expect(page.locator("#people")).not_to_contain_text("2 tabs")


def test_the_chart_moves_and_shows_what_came_before_the_page(page: Page) -> None:
    chart = page.locator("#chart")
    expect(chart).to_have_attribute("data-points", MANY)
    before = int(chart.get_attribute("data-points") or 0)
    page.wait_for_function(
        "n => document.getElementById('chart').dataset.points > n + 5", arg=before
    )
    expect(page.locator("[data-figure=mean]")).to_contain_text("%")
    assert count_colours(page, "#chart canvas") > 3


def test_the_chart_shows_any_topic_over_any_time_with_any_quantile(
    page: Page, dashboard: Server
) -> None:
    page.get_by_role("radio", name="Memory").check()
    expect(page.locator("#chart")).to_have_attribute("aria-label", re.compile("Memory.*1 min"))
    page.get_by_label("10 s", exact=True).check()
    expect(page.locator("#chart")).to_have_attribute("aria-label", re.compile("Memory.*10 s"))
    page.get_by_label("99 %", exact=True).check()
    expect(page.locator("#quantile-label")).to_have_text("Below this 99 % of the time")
    expect(page.locator("[data-figure=quantile]")).to_contain_text("%")
    topic = page.get_by_label("Topic of the chart")
    topic.select_option("host.cpu.0")
    expect(page.locator("#chart")).to_have_attribute("aria-label", re.compile("core 0.*now \\d"))
    topic.select_option(label="Another topic…")
    page.get_by_label("Its name, after stats").fill("nobody.measures")
    page.keyboard.press("Enter")
    expect(page.locator("#chart-empty")).to_contain_text("Nothing has been measured here yet")
    wait_live(page)


def test_the_heat_map_moves_and_tells_the_number_under_the_pointer(page: Page) -> None:
    expect(page.locator("#array")).to_have_attribute("data-frames", MANY)
    picture = read_pixels(page, "#heatmap")
    assert count_colours(page, "#heatmap") > 20
    page.wait_for_function(
        "([id, before]) => document.querySelector(id).toDataURL() !== before",
        arg=["#heatmap", picture],
    )
    expect(page.locator("#array-shape")).to_have_text("60 × 96")
    expect(page.locator("#array-rate")).to_have_text(re.compile(r"[1-9]\d*\.\d"))
    page.locator("#heatmap").hover(position={"x": 60, "y": 60})
    expect(page.locator("#reading")).to_have_text(re.compile(r"-?[\d.]+ row \d+, column \d+"))
    page.locator("#heatmap").focus()
    for _ in range(100):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#reading-spoken")).to_contain_text("column 94")


def test_a_slower_pace_counts_what_it_skips(page: Page) -> None:
    page.get_by_label("2 a second").check()
    expect(page.locator("#array-skipped")).not_to_have_text("0")


def test_an_array_is_made_on_request(page: Page) -> None:
    page.get_by_label("Picture").select_option("on-request")
    expect(page.locator("#array-shape")).to_have_text("36 × 64")
    before = read_pixels(page, "#heatmap")
    page.get_by_role("button", name="New numbers").click()
    page.wait_for_function(
        "([id, before]) => document.querySelector(id).toDataURL() !== before",
        arg=["#heatmap", before],
    )


def test_the_connection_panel_counts_and_a_broken_connection_comes_back(page: Page) -> None:
    expect(page.locator("#trip-median")).to_contain_text("ms")
    expect(page.locator("#trips [data-some]").first).to_be_attached()
    row = page.locator("#streams tr", has_text="lobby:main")
    expect(row).to_contain_text("lobby:main, Live")
    # It stays away for three seconds, in which there is no time to type or to look.
    page.get_by_label("Message", exact=True).fill("said without a connection")
    page.evaluate(RECORD)
    page.get_by_role("button", name="Break the connection").click()
    page.get_by_role("button", name="Send", exact=True).click()
    page.wait_for_function("() => shown.some(({unsent}) => unsent?.includes('On its way'))")
    page.wait_for_function(
        "() => shown.some(({overall}) => /Reconnecting|Connecting/.test(overall))"
    )
    wait_live(page)
    expect(page.locator("#strip")).to_contain_text(re.compile(r"Back after .* Caught up on \d+"))
    expect(page.locator(".said", has_text="said without a connection")).to_have_count(1)
    expect(page.locator(".unsent")).to_have_count(0)
    expect(page.locator("#connection-reconnects")).to_have_text("once")


def test_without_a_network_the_page_says_so_and_goes_on_afterwards(
    visit: Visit, dashboard: Server
) -> None:
    anna = visit(dashboard)
    anna.expected = ("ERR_INTERNET_DISCONNECTED",)
    page = anna.sign_in("anna")
    page.get_by_role("button", name="Break the connection").click()
    anna.context.set_offline(True)
    expect(page.locator("#overall")).to_have_text("Offline")
    expect(page.locator("#strip")).to_contain_text("You are offline")
    anna.context.set_offline(False)
    wait_live(page)


def test_signing_out_ends_the_sign_in_for_every_tab(visit: Visit, dashboard: Server) -> None:
    anna = visit(dashboard)
    first, second = anna.sign_in("anna"), anna.open()
    wait_live(second)
    first.get_by_role("button", name="Sign out").click()
    expect(first.get_by_label("User name")).to_be_focused()
    expect(first.locator("#signin-notice")).to_be_hidden()
    expect(second.locator("#signin-notice")).to_contain_text("you signed out elsewhere")
    first.reload()
    expect(first.get_by_label("User name")).to_be_visible()


def test_a_wrong_password_is_said_plainly(visit: Visit, dashboard: Server) -> None:
    stranger = visit(dashboard)
    stranger.expected = ("401",)
    page = stranger.open()
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("Please enter your user name.")
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("That user name and password do not match.")
    expect(page.get_by_label("Password")).to_be_focused()


def count_colours(page: Page, canvas: str) -> int:
    """How many different colours there are on a canvas."""
    colours: int = page.evaluate(
        """selector => {
            const canvas = document.querySelector(selector);
            const { data } = canvas.getContext("2d")
                .getImageData(0, 0, canvas.width, canvas.height);
            return new Set(new Uint32Array(data.buffer)).size;
        }""",
        canvas,
    )
    return colours


def read_pixels(page: Page, canvas: str) -> str:
    """What is on a canvas, as a text to compare."""
    text: str = page.evaluate("selector => document.querySelector(selector).toDataURL()", canvas)
    return text
