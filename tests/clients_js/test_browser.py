"""The JavaScript client in a real Chromium, against real servers that fail in every way."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser

from tests.clients_js.conftest import Tab
from tests.clients_js.proxy import Proxy
from tests.servers import Project, Server, start_server

OpenTab = Callable[[str], Tab]


@pytest.mark.parametrize("kill", [False, True], ids=["drained", "kill -9"])
def test_after_a_restart_each_missed_publication_comes_once(
    redis_project: Project, launch: Callable[..., Server], open_tab: OpenTab, kill: bool
) -> None:
    server = launch(redis_project, "serve")
    token = redis_project.issue_token("anna", "--lifetime", "3600")
    tab = open_tab(server.http)
    tab.open("/ws/broadcast/t/", token)
    assert tab.run("stream.publish('before')")["offset"] == 1
    server.stop(kill=kill)
    tab.wait("seen.state.some(({state}) => state === 'waiting')")
    change = tab.run("seen.state.find(({state}) => state === 'waiting')")
    if kill:
        assert change["code"] == 1006
    else:
        assert change["code"] == 1012
        assert change["reason"].startswith("retry_after=")
    # One waits in the page, and three are published elsewhere meanwhile.
    tab.run("window.offline = stream.publish('from the page'), null")
    redis_project.manage(
        "shell", "--command", "from realtime import publish\nfor n in range(3): publish('broadcast:t', n)"
    )
    again = start_server(redis_project, "serve", port=server.port)
    try:
        assert tab.run("window.offline")["duplicate"] is False
        tab.wait("seen.publication.length >= 5")
        assert tab.data == ["before", 0, 1, 2, "from the page"]
        assert tab.run("stream.position.offset") == 5
        assert tab.run("[...seen.gap, ...seen.error]") == []
    finally:
        again.stop(kill=True)


def test_an_expired_token_is_replaced_and_a_short_one_renewed_unnoticed(
    quick_server: Server, quick_token: str, open_tab: OpenTab
) -> None:
    issue = quick_server.project.issue_token
    expired = issue("anna", "--lifetime", "1")
    short = issue("anna", "--lifetime", "4")
    tab = open_tab(quick_server.http)
    tab.open("/ws/broadcast/tokens/", [expired, short, quick_token])
    tab.wait("seen.refreshed.length === 1")
    assert tab.states == ["waiting", "connecting", "live"]
    assert tab.run("seen.state[0].code") == 4001
    # Past the end of the short one, for which there is no grace.
    tab.page.wait_for_timeout(2500)
    assert tab.run("stream.publish(1)")["offset"] == 1
    assert tab.states == ["waiting", "connecting", "live"]


def test_a_revoked_sign_in_is_final(quick_server: Server, open_tab: OpenTab) -> None:
    tab = open_tab(quick_server.http)
    post = """fetch("/api/token/%s", {
        method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(%s)
    })"""
    credentials = '{username: "anna", password: "correct horse battery"}'
    pair = tab.run(f"(await {post % ('', credentials)}).json()")
    tab.open("/ws/broadcast/t/", [pair["access"]])
    tab.wait("stream.state === 'live'")
    tab.run(f"(await {post % ('revoke/', '{refresh: %r}' % pair['refresh'])}).status")
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
        const digest = ({{data}}) => `${{data.constructor.name}} ${{data}}`;
        const bits = (array) => new Uint8Array(array.data.buffer, array.data.byteOffset, array.data.byteLength).join();
        const arrays = {arrays};
        const results = [];
        for (const array of arrays) await stream.publishArray(array);
        while (seen.binary.length < arrays.length) await new Promise((done) => setTimeout(done, 10));
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
    assert all(each["same"] for each in sent)
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
    tab.run("window.next = new Promise((done) => stream.addEventListener('stats', done)), null")
    tab.run("stream.publishSamples([5, 1, NaN, 2, 3], [1, 2, 3, 4, 5])")
    stats = tab.run("(await window.next).detail")
    assert (stats["count"], stats["median"], stats["value"]) == (2, 2.5, 3)
    page = tab.run("stream.history()")
    assert (page["top"], page["complete"], len(page["publications"])) == (1, True, 1)
    assert 0 < tab.run("stream.ping()") < 5000


def test_the_network_coming_back_ends_the_wait_at_once(
    quick_server: Server, quick_token: str, open_tab: OpenTab
) -> None:
    tab = open_tab(quick_server.http)
    tab.open("/ws/broadcast/net/", quick_token, backoff={"base": 60_000})
    tab.wait("stream.state === 'live'")
    tab.page.context.set_offline(True)
    tab.run("stream.reconnect()")
    tab.wait("stream.state === 'waiting'")
    tab.page.context.set_offline(False)
    tab.wait("stream.state === 'live'", timeout=3)


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
