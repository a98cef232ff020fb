"""What pages of an allowed origin may do, in a real browser: connect and call the API by token."""

import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.core.checks import Warning
from django.core.exceptions import ImproperlyConfigured
from playwright.sync_api import Browser, Page

from accounts.checks import check_trusted_origins
from accounts.origins import build_pattern
from tests.demo.conftest import PASSWORD, browser
from tests.servers import Project, Server, start_server

__all__ = ["browser"]

CREATE = (
    f"from accounts.models import User;User.objects.create_superuser('root', password={PASSWORD!r})"
)


class BlankPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><link rel=icon href=data:,>")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def other_origin() -> Iterator[str]:
    """Somebody else's web server. `localhost` is another site than 127.0.0.1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BlankPage)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def open_server(make_project: Callable[..., Project], other_origin: str) -> Iterator[Server]:
    """A server to which that origin may connect."""
    project = make_project(DJANGO_ALLOWED_ORIGINS=f"{other_origin},https://*.example.org")
    project.manage("shell", "-v", "0", "-c", CREATE)
    server = start_server(project, "serve")
    yield server
    server.stop()


@pytest.fixture
def page(browser: Browser, other_origin: str, open_server: Server) -> Iterator[Page]:
    """A page of that origin, in the browser of somebody who is signed in to the admin."""
    context = browser.new_context()
    admin = context.new_page()
    admin.goto(f"{open_server.http}/admin/login/")
    admin.fill("#id_username", "root")
    admin.fill("#id_password", PASSWORD)
    admin.click("input[type=submit]")
    admin.wait_for_url(f"{open_server.http}/admin/")
    page = context.new_page()
    page.goto(other_origin)
    yield page
    context.close()


CONNECT = """async ([server, password]) => {
  const answer = await fetch(`${server}/api/token/`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ username: "root", password }),
  });
  const { access } = await answer.json();
  const listed = await fetch(`${server}/api/sessions/`, {
    headers: { Authorization: `Bearer ${access}` },
  });
  const socket = new WebSocket(server.replace("http", "ws") + "/ws/broadcast/a/", [
    "realtime.v1", `realtime.bearer.${access}`,
  ]);
  const hello = await new Promise((resolve, reject) => {
    socket.onmessage = ({ data }) => resolve(JSON.parse(data));
    socket.onclose = ({ code }) => reject(new Error(`closed: ${code}`));
  });
  return [listed.status, hello.user];
}"""

READ = """async ([server, path, credentials]) => {
  try {
    return (await fetch(server + path, { credentials })).status;
  } catch (error) {
    return error.name;
  }
}"""


def test_a_page_of_an_allowed_origin_signs_in_by_token_and_connects(
    page: Page, open_server: Server
) -> None:
    assert page.evaluate(CONNECT, [open_server.http, PASSWORD]) == [200, "root"]


def test_it_reads_nothing_of_the_admin_nor_with_cookies(page: Page, open_server: Server) -> None:
    for path in ("/admin/", "/", "/metrics", "/api/browser/refresh/"):
        for credentials in ("omit", "include"):
            outcome = page.evaluate(READ, [open_server.http, path, credentials])
            assert outcome == "TypeError", path  # refused by the browser: no CORS headers
    assert page.evaluate(READ, [open_server.http, "/api/schema/", "omit"]) == 200
    assert page.evaluate(READ, [open_server.http, "/api/schema/", "include"]) == "TypeError"


@pytest.mark.parametrize("origin", ["allowed", "https://a.example.org", "null"])
def test_the_admin_takes_no_form_from_it(
    open_server: Server, other_origin: str, origin: str
) -> None:

    with httpx.Client(base_url=open_server.http, timeout=30) as client:
        client.get("/admin/login/")
        form = {"csrfmiddlewaretoken": client.cookies["csrftoken"], "username": "root"}
        own = client.post("/admin/login/", data=form, headers={"Origin": open_server.http})
        assert own.status_code == 200  # the form again: there was no password
        foreign = {"Origin": other_origin if origin == "allowed" else origin}
        assert client.post("/admin/login/", data=form, headers=foreign).status_code == 403


def test_the_admin_trusts_its_own_host_alone_unless_told_otherwise(
    make_project: Callable[..., Project],
) -> None:
    assert settings.CSRF_TRUSTED_ORIGINS == []
    project = make_project(DJANGO_CSRF_TRUSTED_ORIGINS="https://*.example.org,https://a.test")
    code = "from django.conf import settings; print(settings.CSRF_TRUSTED_ORIGINS)"
    printed = project.manage("shell", "-v", "0", "-c", code)
    assert printed.strip() == "['https://*.example.org', 'https://a.test']"


def test_a_wildcard_among_them_is_a_warning_of_the_check_for_deployment(settings: Any) -> None:
    assert check_trusted_origins() == []
    settings.CSRF_TRUSTED_ORIGINS = ["https://a.test", "https://*.example.org"]
    (problem,) = check_trusted_origins()
    assert isinstance(problem, Warning)
    assert (problem.id, "*.example.org" in problem.msg) == ("accounts.W002", True)


@pytest.mark.parametrize(
    ("entry", "taken", "refused"),
    [
        (
            "https://app.example.org",
            ["https://app.example.org"],
            [
                "https://appXexample.org",
                "https://app.example.org.evil.test",
                "https://app.example.org\n",
                "http://app.example.org",
                "https://app.example.org:8443",
            ],
        ),
        (
            "https://*.example.org:8443",
            ["https://a.example.org:8443", "https://a.b-c.example.org:8443"],
            [
                "https://example.org:8443",
                "https://evilexample.org:8443",
                "https://a.example.org",
                "https://evil.test/.example.org:8443",
                "https://evil.test?.example.org:8443",
            ],
        ),
        ("http://localhost:5173", ["http://localhost:5173"], ["http://localhost"]),
    ],
)
def test_scripts_of_the_origins_that_may_connect_and_of_no_other_read_answers(
    entry: str, taken: list[str], refused: list[str]
) -> None:

    pattern = build_pattern(entry)
    assert all(re.match(pattern, origin) for origin in taken)
    assert not any(re.match(pattern, origin) for origin in refused)


def test_what_is_no_origin_is_refused_at_start() -> None:
    with pytest.raises(ImproperlyConfigured, match="example"):
        build_pattern("https://app.example.org/path")
