"""One refresh token in many hands at once: real threads on a SQLite file, and over HTTP."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from tests.clients import open_client
from tests.servers import Project, Server, start_server

TOGETHER = 50
# For so many seconds a second use of a token ends nothing, however long the first ones take.
GRACE = 120
PASSWORD = "correct horse battery staple"
MAKE_USER = f"""
from accounts.models import User
User.objects.create_user("ada", password={PASSWORD!r})
"""
# Run by `manage.py shell`, on a database of the kind that a deployment has.
ROTATE_IN_THREADS = f"""
import json, threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from django.db import connection
from accounts.metrics import ReusedToken
from accounts.models import SpentToken, User
from accounts.tokens import issue_tokens, rotate_refresh_token

refresh = issue_tokens(User.objects.get(username="ada")).refresh
before = SpentToken.objects.count()
start = threading.Barrier({TOGETHER})

def rotate(number):
    start.wait()
    try:
        rotate_refresh_token(refresh)
        return "won"
    except ReusedToken:
        return "refused"
    finally:
        connection.close()

with ThreadPoolExecutor({TOGETHER}) as pool:
    outcomes = Counter(pool.map(rotate, range({TOGETHER})))
print(json.dumps([outcomes, SpentToken.objects.count() - before]))
"""
# The tokens that were spent, were spent so many seconds ago.
AGE_SPENT_TOKENS = f"""
from datetime import timedelta
from django.utils import timezone
from accounts.models import SpentToken
SpentToken.objects.update(spent_at=timezone.now() - timedelta(seconds={GRACE + 1}))
"""


@pytest.fixture(scope="module")
def racing_project(make_project: Callable[..., Project]) -> Project:
    project = make_project(SIGN_IN_FAILURE_RATE="1000/min", JWT_REUSE_GRACE_SECONDS=str(GRACE))
    project.manage("shell", "-v", "0", "-c", MAKE_USER)
    return project


@pytest.fixture(scope="module")
def servers(racing_project: Project) -> Iterator[list[Server]]:
    """Two servers with one database: stock daphne and `serve`."""
    kinds = ("daphne", "serve")
    with ThreadPoolExecutor() as pool:
        servers = list(pool.map(lambda kind: start_server(racing_project, kind), kinds))
    yield servers
    for server in servers:
        server.stop()


def sign_in(server: Server) -> dict[str, str]:
    body = {"username": "ada", "password": PASSWORD}
    url = f"{server.http}/api/token/"
    pair: dict[str, str] = httpx.post(url, json=body, timeout=30).json()
    return pair


def refresh(server: Server, token: str) -> httpx.Response:
    return httpx.post(f"{server.http}/api/token/refresh/", json={"refresh": token}, timeout=30)


def test_of_fifty_threads_one_wins(racing_project: Project) -> None:
    printed = racing_project.manage("shell", "-v", "0", "-c", ROTATE_IN_THREADS)
    outcomes, spent = json.loads(printed.splitlines()[-1])
    assert (outcomes, spent) == ({"won": 1, "refused": TOGETHER - 1}, 1)


def test_of_fifty_requests_to_two_servers_one_wins_and_the_sign_in_goes_on(
    servers: list[Server],
) -> None:
    token = sign_in(servers[0])["refresh"]
    start = threading.Barrier(TOGETHER)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(httpx.Client(timeout=30, verify=False)) for _ in range(TOGETHER)
        ]

        def request(number: int) -> httpx.Response:
            server = servers[number % 2]
            clients[number].get(f"{server.http}/livez")  # connected, so that all begin together
            start.wait()
            return clients[number].post(
                f"{server.http}/api/token/refresh/", json={"refresh": token}
            )

        with ThreadPoolExecutor(TOGETHER) as pool:
            responses = list(pool.map(request, range(TOGETHER)))
    assert Counter(response.status_code for response in responses) == {200: 1, 401: TOGETHER - 1}
    assert {r.json()["code"] for r in responses if r.status_code == 401} == {"invalid_token"}
    (winner,) = (response.json() for response in responses if response.status_code == 200)
    assert refresh(servers[1], winner["refresh"]).status_code == 200


async def test_a_late_second_use_ends_the_live_sessions_of_the_sign_in(
    servers: list[Server], racing_project: Project
) -> None:
    server = servers[1]
    pair, other = sign_in(server), sign_in(server)
    rotated = refresh(server, pair["refresh"]).json()
    url = f"{server.ws}/ws/broadcast/stolen/"
    async with open_client(url, rotated["access"]) as one, open_client(url, other["access"]) as two:
        await one.receive_type("subscribed")
        await two.receive_type("subscribed")
        assert refresh(server, pair["refresh"]).status_code == 401
        await one.receive_nothing()
        racing_project.manage("shell", "-v", "0", "-c", AGE_SPENT_TOKENS)
        response = refresh(server, pair["refresh"])
        assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
        assert (await one.wait_closed())[0] == 4505
        await two.receive_nothing()
    assert refresh(server, rotated["refresh"]).status_code == 401
    assert refresh(server, other["refresh"]).status_code == 200
    assert server.read_metric("realtime_auth_failures_total", where="refresh", reason="reused") >= 2
