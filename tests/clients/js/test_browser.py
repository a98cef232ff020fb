"""The JavaScript client in a real Chromium, against real servers that fail in every way."""

import json
import re
from collections.abc import Callable

import pytest

from tests.clients.js.conftest import OpenTab
from tests.clients.js.proxy import AskingProxy, Proxy
from tests.servers import ROOT, Project, Server

README = ROOT / "clients" / "js" / "README.md"

MISSED = "from realtime import publish\nfor d in 'missed', 'missed too': publish('broadcast:t', d)"
POST = """fetch("/api/token/%s", {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(%s)
}).then((response) => response.text()).then((text) => text && JSON.parse(text))"""
SIGN_IN = POST % ("", json.dumps({"username": "anna", "password": "secret"}))


def test_after_each_restart_what_was_missed_comes_once(
    redis_project: Project,
    quick_token: str,
    launch: Callable[..., Server],
    restart: Callable[[Server], Server],
    open_tab: OpenTab,
) -> None:
    server = launch(redis_project, "serve")
    tab = open_tab(server.http)
    tab.open("/ws/broadcast/t/", quick_token)
    tab.run("stream.publish('first')")
    expected = ["first"]
    for kill in (False, True):
        server.stop(kill=kill)
        tab.wait("seen.state.some(({state}) => state === 'waiting')")
        change = tab.run("seen.state.find(({state}) => state === 'waiting')")
        if kill:
            assert change["code"] == 1006
        else:  # a drain
            assert change["code"] == 1012
            assert float(change["reason"].removeprefix("retry_after=")) > 0
        # Two are published elsewhere meanwhile, and one waits in the page.
        redis_project.manage("shell", "--command", MISSED)
        tab.run("void (window.waiting = stream.publish('waited'))")
        server = restart(server)
        assert tab.run("window.waiting")["duplicate"] is False
        expected += ["missed", "missed too", "waited"]
        tab.wait(f"seen.publication.length >= {len(expected)}")
        assert tab.data == expected
        assert tab.run("stream.position.offset") == len(expected)
        tab.run("void (seen.state.length = 0)")
    assert tab.run("[...seen.gap, ...seen.error]") == []


def test_an_expired_token_is_replaced_and_a_short_one_renewed_unnoticed(
    quick_server: Server, sign: Callable[[float], str], open_tab: OpenTab
) -> None:
    tab = open_tab(quick_server.http)
    tab.page.expose_function("sign", sign)
    tab.run(
        """{
        const lifetimes = [-60, 6, 7, 600], asked = window.asked = [];
        window.giveToken = async ({renew}) => window.sign(lifetimes[asked.push(renew) - 1]);
    }"""
    )
    tab.open("/ws/broadcast/tokens/")
    tab.wait("seen.refreshed.length === 2")  # the second token has ended by now, and its grace
    assert tab.states == ["waiting", "connecting", "live"]
    assert tab.run("seen.state[0].code") == 4001
    assert tab.run("asked") == [False, True, True, True]
    assert tab.run("stream.publish(1)")["offset"] == 1


def test_a_revoked_sign_in_is_final(quick_server: Server, open_tab: OpenTab) -> None:
    tab = open_tab(quick_server.http)
    pair = tab.run(SIGN_IN)
    tab.open("/ws/broadcast/t/", pair["access"])
    tab.wait("stream.state === 'live'")
    tab.run(POST % ("revoke/", json.dumps({"refresh": pair["refresh"]})))
    tab.wait("stream.state === 'closed'")
    assert tab.run("seen.state.at(-1).code") == 4505
    refused = tab.run("stream.publish(1).catch(({name, code}) => [name, code])")
    assert refused == ["ConnectionEnded", 4505]


def test_a_gap_is_told_and_moved_on_from(
    quick_server: Server, quick_token: str, open_tab: OpenTab
) -> None:
    tab = open_tab(quick_server.http)
    tab.open("/ws/broadcast/gap/", quick_token, position={"epoch": "long-ago", "offset": 7})
    tab.wait("seen.gap.length === 1")
    gap = tab.run("seen.gap[0]")
    assert (gap["after"], gap["next"], gap["reason"]) == (7, 1, "history_lost")
    assert tab.run("stream.position") == {"epoch": gap["epoch"], "offset": 0}
    assert tab.run("stream.publish('on')")["offset"] == 1


def test_arrays_of_every_dtype_come_back_as_they_went(
    quick_server: Server, quick_token: str, open_tab: OpenTab
) -> None:
    tab = open_tab(quick_server.http)
    tab.open("/ws/arrays/round/", quick_token)
    arrays = """[
        {data: new Float64Array(40_000).fill(0.5), shape: [200, 200]},  // in chunks
        {data: new BigInt64Array([-(2n ** 63n), 2n ** 63n - 1n])},
        {data: new Uint8Array([0, 1]), dtype: "bool"},
        {data: new Float32Array([1, -1, 0, NaN]), dtype: "complex64"},
        {data: new Uint16Array([0x3c00]), dtype: "float16"},
        {data: new Int32Array(0), shape: [0, 3]},
        {data: new Float64Array([Math.PI]), shape: []},
    ]"""
    sent = tab.run(
        f"""{{
        const bits = ({{data}}) =>
            new Uint8Array(data.buffer, data.byteOffset, data.byteLength).join();
        const arrays = {arrays};
        for (const array of arrays) await stream.publishArray(array);
        while (seen.binary.length < arrays.length)
            await new Promise((done) => setTimeout(done, 10));
        return arrays.map((array, i) => {{
            const {{header, array: got}} = seen.binary[i];
            return {{
                same: bits(array) === bits(got),
                dtype: [header.dtype, got.dtype],
                shape: [header.shape, got.shape],
                chunks: header.chunks,
            }};
        }});
    }}"""
    )
    assert [each["same"] for each in sent] == [True] * 7
    assert [each["dtype"] for each in sent] == [
        [dtype, dtype]
        for dtype in ("float64", "int64", "bool", "complex64", "float16", "int32", "float64")
    ]
    assert [each["shape"][1] for each in sent] == [[200, 200], [2], [2], [2], [1], [0, 3], []]
    assert sent[0]["chunks"] == 5
    made = tab.run(
        "stream.request({shape: [300, 50]})"
        ".then(({shape, dtype, data}) => [shape, dtype, data.every((x) => x >= 0 && x < 1)])"
    )
    assert made == [[300, 50], "float64", True]


def test_samples_history_and_a_ping_find_their_answers(
    quick_server: Server, quick_token: str, open_tab: OpenTab
) -> None:
    tab = open_tab(quick_server.http)
    tab.open("/ws/stats/s/", quick_token, window="3", fields=["median"])
    tab.run("void (window.next = new Promise((done) => stream.addEventListener('stats', done)))")
    tab.run("stream.publishSamples([5, 1, NaN, 2, 3], [1, 2, 3, 4, 5])")
    stats = tab.run("(await window.next).detail")
    assert (stats["count"], stats["median"], stats["value"]) == (2, 2.5, 3)
    page = tab.run("stream.history()")
    assert (page["top"], page["complete"], len(page["publications"])) == (1, True, 1)
    assert tab.run("stream.ping()") > 0


def test_the_network_coming_back_ends_the_wait_at_once(
    quick_server: Server, quick_token: str, open_tab: OpenTab
) -> None:
    tab = open_tab(quick_server.http)
    hours = 3600_000 * 10
    tab.open("/ws/broadcast/net/", quick_token, backoff={"base": hours, "cap": hours})
    tab.wait("stream.state === 'live'")
    tab.page.context.set_offline(True)
    tab.run("stream.reconnect()")
    tab.wait("stream.state === 'waiting'")
    tab.page.context.set_offline(False)
    tab.wait("stream.state === 'live'")


@pytest.mark.parametrize("why", ["idle", "looked at again"])
def test_a_dead_connection_is_found_by_a_ping(
    quick_server: Server, quick_token: str, open_tab: OpenTab, why: str
) -> None:
    with Proxy(quick_server.port) as proxy:
        tab = open_tab(f"http://127.0.0.1:{proxy.port}")
        tab.open("/ws/broadcast/dead/", quick_token, pongTimeout=500)
        tab.run("stream.publish('before')")
        proxy.swallow(True)
        if why == "looked at again":
            tab.run("document.dispatchEvent(new Event('visibilitychange'))")
        tab.wait("seen.state.some(({state}) => state === 'waiting')")
        assert "ping" in tab.run("seen.state.find(({state}) => state === 'waiting').reason")
        proxy.swallow(False)
        proxy.cut(proxy.count)
        tab.wait("stream.state === 'live'")
        tab.run("stream.publish('after')")
        tab.wait("seen.publication.length === 2")
        assert tab.data == ["before", "after"]


def test_a_token_counts_behind_a_proxy_that_asks_for_http_basic(
    quick_server: Server, quick_token: str, open_tab: OpenTab
) -> None:
    with AskingProxy(quick_server.port, username="staff", password="only") as proxy:
        # Chromium keeps what the address brought, and adds it to handshakes by itself.
        tab = open_tab(f"http://staff:only@127.0.0.1:{proxy.port}")
        url = f"ws://127.0.0.1:{proxy.port}/ws/broadcast/basic/"
        tab.open(url, quick_token)
        tab.wait("stream.state !== 'connecting'")
        assert tab.run("[stream.state, stream.user]") == ["live", "anna"]
        assert [value.split()[0] for value in proxy.handshakes if value] == ["Basic"]


def test_the_page_of_the_readme_works(
    quick_server: Server, quick_token: str, open_tab: OpenTab
) -> None:
    (html,) = re.findall(r"```html\n(.*?)```", README.read_text(), re.DOTALL)
    body, script = html.split('<script type="module">')
    tab = open_tab(quick_server.http)
    tab.page.route("**/api/token/", lambda route: route.fulfill(json={"access": quick_token}))
    tab.page.on("dialog", lambda dialog: dialog.accept("any"))
    tab.page.evaluate("(html) => void (document.body.innerHTML = html)", body)
    tab.page.add_script_tag(content=script.removesuffix("</script>\n"), type="module")
    tab.wait("state.textContent === 'live'")
    tab.page.fill("#text", "hello")
    tab.page.click("button")
    tab.wait("messages.textContent === 'anna: hello'")
