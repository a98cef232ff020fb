"""What a real Chromium does to a page, and what becomes of the streams in it."""

import json
import time
from pathlib import Path

from tests.clients.js.conftest import OPEN, OpenTab
from tests.clients.js.devtools import Devtools
from tests.clients.js.proxy import Proxy
from tests.servers import Server

HOURS = 10 * 3600_000  # ms
# A failure that was counted would end the stream.
PATIENT = {"backoff": {"base": HOURS, "cap": HOURS}, "maxRetries": 0}


def test_each_way_back_to_a_page_in_the_cache_connects_at_once(
    quick_server: Server, quick_token: str, open_tab: OpenTab
) -> None:
    tab = open_tab(quick_server.http)
    # Not the page of a probe: that one may not be kept in the cache.
    tab.page.goto(f"{quick_server.http}/static/realtime/realtime.js")
    tab.run("void (window.shown = [])")
    tab.run("void addEventListener('pageshow', ({persisted}) => shown.push(persisted))")
    tab.open("/ws/broadcast/back/", quick_token, **PATIENT)
    tab.wait("stream.state === 'live'")
    for count in range(1, 6):
        tab.page.goto(f"{quick_server.http}/livez")
        tab.page.go_back(wait_until="commit")
        tab.wait(f"shown.length === {count}")
        tab.wait("stream.state === 'live'")
        assert tab.run(f"stream.publish({count})")["duplicate"] is False
    assert tab.run("shown") == [True] * 5
    tab.wait("seen.publication.length === 5")
    assert tab.data == [1, 2, 3, 4, 5]
    assert "waiting" not in tab.states


def test_a_page_that_was_frozen_in_the_background_comes_back_at_once(
    quick_server: Server, quick_token: str, tmp_path: Path
) -> None:
    with Devtools(tmp_path) as chromium:
        chromium.open(f"{quick_server.http}/livez")
        arguments = json.dumps(["/ws/broadcast/frozen/", quick_token, PATIENT])
        chromium.run(f"({OPEN})({arguments})")
        chromium.run("document.addEventListener('freeze', () => (window.frozen ??= 0, frozen++))")
        for count in range(1, 4):
            chromium.wait("stream.state === 'live'")
            chromium.hide()
            chromium.freeze(True)
            time.sleep(0.5)
            chromium.freeze(False)
            if count == 2:
                chromium.show()
            assert chromium.run(f"stream.publish({count})")["offset"] == count
            assert chromium.run("frozen") == count
        chromium.wait("seen.publication.length === 3")
        assert "closed" not in chromium.run("seen.state.map(({state}) => state)")


def test_without_a_network_no_attempt_is_used_up(
    quick_server: Server, quick_token: str, open_tab: OpenTab
) -> None:
    with Proxy(quick_server.port) as proxy:
        tab = open_tab(f"http://127.0.0.1:{proxy.port}")
        tab.open("/ws/broadcast/offline/", quick_token, backoff={"base": 1}, maxRetries=3)
        tab.wait("stream.state === 'live'")
        for count in range(1, 4):
            tab.page.context.set_offline(True)
            proxy.cut(proxy.count)
            tab.wait("stream.state === 'waiting'")
            tab.page.wait_for_timeout(500)  # for many more attempts than three
            assert tab.run("stream.state") == "waiting"
            tab.page.context.set_offline(False)
            tab.wait("stream.state === 'live'")
            assert tab.run(f"stream.publish({count})")["offset"] == count
        assert tab.states == ["live", *["waiting", "connecting", "live"] * 3]
