"""The dashboard through what happens to a server and to a sign-in: with Redis, as in production."""

import json
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.demo.conftest import Visitor, run_python, say, wait_live
from tests.servers import Project, RedisServer, Server, start_server

Visit = Callable[..., Visitor]
LIFETIME = 5  # seconds, of an access token
GRACE = 4  # seconds, that a session goes on after that


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture(scope="module")
def project(make_dashboard: Callable[..., Project], redis: RedisServer) -> Project:
    return make_dashboard(
        REDIS_URL=redis.url, JWT_ACCESS_SECONDS=str(LIFETIME), REALTIME_EXPIRY_GRACE=str(GRACE)
    )


@pytest.fixture(scope="module")
def server(project: Project) -> Iterator[Server]:
    """A server without a feed."""
    server = start_server(project, "serve")
    yield server
    server.stop()


def test_a_token_runs_out_and_nobody_notices(visit: Visit, server: Server) -> None:
    page = visit(server).sign_in("anna")
    renewals = []
    page.on("response", lambda response: renewals.append(response.url))
    page.wait_for_timeout((LIFETIME + GRACE + 1) * 1000)
    assert sum(url.endswith("/api/browser/refresh/") for url in renewals) >= 2
    assert len(renewals) < 10  # all streams share one new token
    expect(page.locator("#connection-reconnects")).to_have_text("never")
    say(page, "still here")
    expect(page.locator(".said:not(.unsent)", has_text="still here")).to_have_count(1)
    page.reload()
    wait_live(page)


def test_a_user_who_is_deactivated_is_told_and_signed_out(
    visit: Visit, project: Project, server: Server
) -> None:
    page = visit(server).sign_in("ben")
    run_python(
        project,
        "from django.contrib.auth import get_user_model as g\n"
        "user = g().objects.get(username='ben')\n"
        "user.is_active = False\n"
        "user.save()",
    )
    expect(page.get_by_role("alert")).to_contain_text("Your sign-in was ended")
    expect(page.locator("#dashboard")).to_be_hidden()
    page.reload()
    expect(page.get_by_label("User name")).to_be_visible()


def test_what_has_no_data_yet_says_so(visit: Visit, server: Server) -> None:
    page = visit(server).sign_in("anna")
    expect(page.locator("#chart-empty")).to_contain_text("Nothing has been measured here yet")
    expect(page.locator("#array-empty")).to_contain_text("There is no array here yet")
    page.get_by_label("Room").select_option(label="Another room…")
    page.get_by_label("Its name, after lobby").fill("quiet")
    page.keyboard.press("Enter")
    expect(page.locator("#lobby-empty")).to_contain_text("Nobody has said anything yet")


def test_a_killed_server_is_noticed_and_what_it_missed_is_shown_afterwards(
    visit: Visit, project: Project, server: Server
) -> None:
    anna = visit(server)
    anna.expected = ("ERR_CONNECTION", "ERR_EMPTY_RESPONSE", "WebSocket connection to")
    page = anna.sign_in("anna")
    say(page, "before")
    expect(page.locator(".said:not(.unsent)", has_text="before")).to_have_count(1)
    server.stop(kill=True)
    expect(page.locator("#strip")).to_contain_text("The connection to the server was lost")
    expect(page.locator("#announcement")).to_contain_text("The connection to the server was lost")
    say(page, "written meanwhile")
    message = json.dumps({"text": "said elsewhere"})
    run_python(project, f"import realtime\nrealtime.publish('lobby:main', {message})")
    server.process = start_server(project, "serve", port=server.port).process
    expect(page.locator("#messages")).to_contain_text("1 message while you were away")
    expect(page.locator(".said", has_text="said elsewhere")).to_have_count(1)
    expect(page.locator(".said", has_text="before")).to_have_count(1)
    expect(page.locator(".said:not(.unsent)", has_text="written meanwhile")).to_have_count(1)
    wait_live(page)
    expect(page.locator("#strip")).to_contain_text(re.compile("Back after .* Nothing is missing"))
    expect(page.locator("#connection-gaps")).to_have_text("none")
    expect(page.locator("#people")).to_contain_text("anna")
