"""A project with Django's session login: its WebSockets end with the session that opened them."""

import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest

from tests.clients import Client, open_client
from tests.servers import Project, Server, start_server

# Two seconds are promised; a test may wait twice as long.
PROMISED = 2.0
RECHECK = 2.0
PASSWORD = "correct horse"


def build_project(folder: Any, **environment: str) -> Project:
    project = Project(
        folder,
        {
            "DJANGO_SETTINGS_MODULE": "tests.embedded.project_settings",
            "REALTIME_RECHECK_SECONDS": "3600",
            **environment,
        },
    )
    project.manage("migrate", "--verbosity", "0")
    return project


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Nothing is found by looking at everybody: what ends has been announced."""
    server = start_server(build_project(tmp_path_factory.mktemp("project")), "serve")
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["db", "cache", "signed_cookies"])
def looking_server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Server]:
    """It hears nothing, since the changes are made by another process, and looks often."""
    engine = f"django.contrib.sessions.backends.{request.param}"
    folder = tmp_path_factory.mktemp("project")
    project = build_project(
        folder, SESSION_ENGINE=engine, REALTIME_RECHECK_SECONDS=str(RECHECK), TMPDIR=str(folder)
    )
    server = start_server(project, "serve")
    yield server
    server.stop()


def run(server: Server, code: str) -> str:
    return server.project.manage("shell", "-v", "0", "-c", code).strip()


def make_user(server: Server, name: str, **fields: Any) -> None:
    run(
        server,
        "from django.contrib.auth.models import User;"
        f"User.objects.create_user({name!r}, password={PASSWORD!r}, **{fields!r})",
    )


@pytest.fixture
def sign_in() -> Iterator[Callable[[Server, str], httpx.Client]]:
    """Signs a user in, in a browser of its own."""
    with ExitStack() as stack:

        def do(server: Server, name: str) -> httpx.Client:
            browser = stack.enter_context(httpx.Client(base_url=server.http, timeout=30))
            post(browser, "/sign-in/", username=name, password=PASSWORD, next="/livez")
            assert browser.cookies.get("sessionid")
            return browser

        yield do


def post(browser: httpx.Client, path: str, page: str = "/sign-in/", **form: str) -> None:
    found = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', browser.get(page).text)
    token = found[1] if found else browser.cookies["csrftoken"]
    answer = browser.post(path, data={**form, "csrfmiddlewaretoken": token})
    assert answer.status_code == 302, answer.text


@asynccontextmanager
async def open_by_cookie(
    server: Server, browser: httpx.Client, topic: str = "broadcast/a"
) -> AsyncIterator[Client]:
    cookie = SimpleCookie({"sessionid": browser.cookies["sessionid"]}).output(header="").strip()
    async with open_client(
        f"{server.ws}/ws/{topic}/", additional_headers={"Cookie": cookie}, origin=server.http
    ) as client:
        yield client


async def wait_revoked(client: Client, seconds: float) -> None:
    began = time.monotonic()
    assert (await client.wait_closed())[0] == 4505
    assert time.monotonic() - began < seconds


async def test_signing_out_ends_the_sockets_of_that_session_alone_and_at_once(
    server: Server, sign_in: Callable[..., httpx.Client]
) -> None:
    make_user(server, "anna")
    one, two = sign_in(server, "anna"), sign_in(server, "anna")
    async with (
        open_by_cookie(server, one) as mine,
        open_by_cookie(server, one, "echo") as echo,
        open_by_cookie(server, two) as other,
    ):
        hello = await mine.receive_type("hello")
        assert (hello["user"], hello["expires_at"]) == ("anna", None)
        await other.receive_type("hello")
        post(one, "/sign-out/")
        await wait_revoked(mine, 2 * PROMISED)
        await wait_revoked(echo, 2 * PROMISED)
        await other.receive_type("subscribed")
        await other.send({"type": "ping", "ref": 1})
        await other.receive_type("pong")
    log = server.read_log()
    assert one.cookies.get("sessionid") is None
    assert "reason=sign-out" in log
    assert "by=anna" in log
    assert two.cookies["sessionid"] not in log  # a session's key is a credential


async def test_a_new_password_ends_them_at_once(
    server: Server, sign_in: Callable[..., httpx.Client]
) -> None:
    make_user(server, "ben")
    make_user(server, "root", is_staff=True, is_superuser=True)
    browser, admin = sign_in(server, "ben"), sign_in(server, "root")
    key = run(
        server,
        "from django.contrib.auth.models import User; print(User.objects.get(username='ben').pk)",
    )
    async with open_by_cookie(server, browser) as client, open_by_cookie(server, admin) as other:
        await client.receive_type("subscribed")
        path = f"/admin/auth/user/{key}/password/"
        passwords = {"password1": "another horse", "password2": "another horse"}
        post(admin, path, page=path, usable_password="true", **passwords)
        await wait_revoked(client, 2 * PROMISED)
        await other.receive_type("subscribed")
        await other.send({"type": "ping", "ref": 1})
        await other.receive_type("pong")


async def test_deactivation_and_deletion_end_them_at_once(
    server: Server, sign_in: Callable[..., httpx.Client]
) -> None:
    for name in ("carl", "dora"):
        make_user(server, name)
    make_user(server, "ruth", is_staff=True, is_superuser=True)
    admin = sign_in(server, "ruth")
    keys = run(
        server,
        "from django.contrib.auth.models import User;"
        "print(*(User.objects.get(username=name).pk for name in ('carl', 'dora')))",
    ).split()
    async with (
        open_by_cookie(server, sign_in(server, "carl")) as carl,
        open_by_cookie(server, sign_in(server, "dora")) as dora,
    ):
        for client in (carl, dora):
            await client.receive_type("subscribed")
        page = f"/admin/auth/user/{keys[0]}/change/"
        form = {"username": "carl", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
        post(admin, page, page=page, **form)  # without is_active
        await wait_revoked(carl, 2 * PROMISED)
        page = f"/admin/auth/user/{keys[1]}/delete/"
        post(admin, page, page=page, post="yes")
        await wait_revoked(dora, 2 * PROMISED)


def test_the_projects_own_authentication_signs_in_to_the_rest_api(
    server: Server, sign_in: Callable[..., httpx.Client]
) -> None:
    make_user(server, "rita")
    browser = sign_in(server, "rita")
    path = "/api/topics/broadcast:a/publications/"
    token = {"X-CSRFToken": browser.cookies["csrftoken"], "Content-Type": "application/json"}
    answers = [
        browser.post(path, content=b'{"data": 1}', headers=token),
        browser.post(path, content=b"{", headers=token),
        browser.post(path, json={"data": 1}),
        browser.get("/api/sessions/"),
        httpx.get(f"{server.http}{path}", timeout=30),
    ]
    assert [(answer.status_code, answer.json().get("code")) for answer in answers] == [
        (201, None),
        (400, "invalid_json"),
        (403, "permission_denied"),  # a page of another site has no CSRF token
        (403, "permission_denied"),
        (401, "authentication_required"),
    ]


FLUSHED, EXPIRED, CHANGED, INACTIVE, UNTOUCHED = names = ("flo", "eva", "cleo", "ina", "al")


async def test_what_nobody_announces_is_found_by_looking(
    looking_server: Server, sign_in: Callable[..., httpx.Client]
) -> None:
    server = looking_server
    engine = server.project.environment["SESSION_ENGINE"]
    run(
        server,
        "from django.contrib.auth.models import User;"
        f"[User.objects.create_user(name, password={PASSWORD!r}) for name in {names!r}]",
    )
    browsers = {name: sign_in(server, name) for name in names}
    async with AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(open_by_cookie(server, browser))
            for name, browser in browsers.items()
        }
        for client in clients.values():
            await client.receive_type("subscribed")
        keys = {name: browser.cookies["sessionid"] for name, browser in browsers.items()}
        changes = [
            "from importlib import import_module",
            "from django.conf import settings",
            "from django.contrib.auth.hashers import make_password",
            "from django.contrib.auth.models import User",
            "from django.core.management import call_command",
            f"User.objects.filter(username={INACTIVE!r}).update(is_active=False)",
            f"User.objects.filter(username={CHANGED!r}).update(password=make_password('x'))",
        ]
        ended = {CHANGED, INACTIVE}
        if not engine.endswith("signed_cookies"):  # of which the server keeps nothing to delete
            ended |= {FLUSHED, EXPIRED}
            changes += [
                "store = import_module(settings.SESSION_ENGINE).SessionStore",
                f"store({keys[FLUSHED]!r}).flush()",
                f"s = store({keys[EXPIRED]!r}); s.set_expiry(-1); s.save()",
                "call_command('clearsessions')",
            ]
        run(server, "\n".join(changes))
        for name in ended:
            await wait_revoked(clients[name], 2 * RECHECK + PROMISED)
        for name in names:
            if name not in ended:
                await clients[name].send({"type": "ping", "ref": 1})
                await clients[name].receive_type("pong")
