"""The dashboard for everybody: with a keyboard, a screen reader, on a phone, in light and dark."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.demo.conftest import PASSWORD, Visitor, say, wait_live
from tests.servers import Server

Visit = Callable[..., Visitor]
AXE = (Path(__file__).parent / "vendor" / "axe" / "axe.min.js").read_text()


def find_faults(page: Page) -> list[str]:
    """What axe finds at all, as `rule: element`."""
    page.evaluate(AXE)
    results = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{found['impact']} {found['id']}: {node['html'][:200]}"
        for found in results["violations"]
        for node in found["nodes"]
    ]


SCREENS = [(width, scheme) for width in (375, 1440) for scheme in ("light", "dark")]


def test_axe_finds_no_fault_and_nothing_is_wider_than_the_screen(
    visit: Visit, dashboard: Server
) -> None:
    visitor = visit(dashboard, reduced_motion="reduce")  # no colour is caught between two others
    page = visitor.open()
    expect(page.get_by_label("User name")).to_be_visible()
    assert look_at(page) == []
    page.close()
    page = visitor.sign_in("anna")
    say(page, "hello")
    expect(page.locator("#messages")).to_contain_text("hello")
    expect(page.locator("#array")).not_to_have_attribute("data-frames", "0")
    expect(page.locator("#trip-latest")).to_contain_text("ms")
    assert look_at(page) == []


def look_at(page: Page) -> list[str]:
    """The faults on every screen, and the screens that are too narrow."""
    faults = []
    for width, scheme in SCREENS:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        faults += [f"{width} px, {scheme}: {fault}" for fault in find_faults(page)]
        if page.evaluate("document.documentElement.scrollWidth") > width:
            faults.append(f"{width} px, {scheme}: scrolls sideways")
    return faults


def test_a_keyboard_is_enough(visit: Visit, dashboard: Server) -> None:
    page = visit(dashboard).open()
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type("anna")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    wait_live(page)
    expect(page.locator("main")).to_be_focused()
    page.get_by_role("radio", name="Processor").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Memory")).to_be_checked()
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.name"))
    assert {"theme", "sign-out", "window", "quantile", "heatmap", "say-text", "break"} <= seen


def test_the_colours_follow_the_device_or_the_choice_which_lasts(
    visit: Visit, dashboard: Server
) -> None:
    page = visit(dashboard, color_scheme="dark").open()
    expect(page.get_by_label("User name")).to_be_visible()

    def is_dark() -> bool:
        lightness = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/)"
        )
        return float(lightness[0]) < 0.5

    assert is_dark()
    page.get_by_role("button", name="Colours: as on this device").click()
    assert not is_dark()
    page.reload()
    assert not is_dark()
    page.get_by_role("button", name="Colours: light").click()
    page.get_by_role("button", name="Colours: dark").click()
    assert is_dark()
    expect(page.get_by_role("button", name="Colours: as on this device")).to_be_visible()
