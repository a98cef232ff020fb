"""A sign-in against servers whose answers are lost, and computers that slept."""

import base64
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from realtime_client import Config, ConnectionEnded, SignIn, connect
from tests.clients.js.proxy import AskingProxy
from tests.servers import Server

# What the server does with a request: an HTTP status, or the name of a mishap.
Act = int | str


class TokenServer(ThreadingHTTPServer):
    """Answers `/api/token/…` as the script says, then with a fresh pair each time."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.script: list[Act] = []
        self.heard: list[dict[str, str]] = []
        self.retry_after: str | None = None
        self.numbers = itertools.count()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.server_port}/ws/echo/"

    def make_pair(self) -> dict[str, str]:
        number = next(self.numbers)
        claims = base64.urlsafe_b64encode(json.dumps({"iat": number, "exp": number + 600}).encode())
        return {"access": f"a.{claims.decode().rstrip('=')}.z", "refresh": f"refresh-{number}"}


class Answer(BaseHTTPRequestHandler):
    server: TokenServer

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.heard.append(body)
        act: Act = server.script.pop(0) if server.script else 200
        answer = json.dumps(server.make_pair()).encode()
        if act == "silence":
            time.sleep(0.4)
            return
        if act == "hang up":
            return
        self.send_response(act if isinstance(act, int) else 200)
        if server.retry_after is not None:
            self.send_header("Retry-After", server.retry_after)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write({"half": answer[:20], "babble": b"?" * len(answer)}.get(str(act), answer))

    def log_message(self, *_: Any) -> None:
        """Not on the screen."""


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with TokenServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def sign_in(server: TokenServer) -> SignIn:
    """One that has a token already."""
    sign_in = SignIn(server.url, "anna", "secret")
    sign_in()
    server.heard.clear()
    return sign_in


@pytest.fixture
def sleep(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let time go by: on the clock of the wall, and perhaps on the steady one."""

    def sleep(*, wall: float, steady: float) -> None:
        clocks = SimpleNamespace(
            monotonic=lambda: time.monotonic() + steady, time=lambda: time.time() + wall
        )
        monkeypatch.setattr("realtime_client.credentials.time", clocks)

    return sleep


PASSWORD = {"username": "anna", "password": "secret"}


def expire(sign_in: SignIn) -> None:
    sign_in.discard(sign_in())


@pytest.mark.parametrize("mishap", ["silence", "hang up", "half", "babble", 500, 502, 504])
def test_a_refresh_token_whose_answer_was_lost_is_not_sent_again(
    mishap: Act, server: TokenServer, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent again, the server would take it for stolen: the password is what is left."""
    monkeypatch.setattr("realtime_client.credentials.TIMEOUT", 0.2)
    expire(sign_in)
    server.script = [mishap]
    with pytest.raises(OSError) as failed:  # noqa: PT011 (of whatever kind: it is asked again then)
        sign_in()
    assert not isinstance(failed.value, ConnectionEnded)
    assert sign_in()
    [refresh, password] = server.heard
    assert refresh.keys() == {"refresh"}
    assert password == PASSWORD


def test_a_refresh_token_that_the_server_did_not_look_at_is_sent_again(
    server: TokenServer, sign_in: SignIn
) -> None:
    """Else, after an outage, everybody would sign in by password at once."""
    expire(sign_in)
    server.script = [429]
    with pytest.raises(OSError, match="HTTP 429"):
        sign_in()
    root = sign_in._root
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        sign_in._root = f"http://127.0.0.1:{closed.getsockname()[1]}/api/token/"
        with pytest.raises(OSError, match="refused"):
            sign_in()
    sign_in._root = root
    sign_in()
    assert server.heard[0].keys() == {"refresh"}
    assert server.heard[1:] == server.heard[:1]


def test_a_refresh_token_that_is_refused_is_followed_by_the_password(
    server: TokenServer, sign_in: SignIn
) -> None:
    expire(sign_in)
    server.script = [401]
    assert sign_in()
    assert server.heard[1] == PASSWORD


@pytest.mark.parametrize("status", [429, 503])
def test_the_server_is_left_alone_for_as_long_as_it_says(
    status: int, server: TokenServer, sign_in: SignIn, sleep: Callable[..., None]
) -> None:
    expire(sign_in)
    server.script, server.retry_after = [status], "30"
    for _ in range(3):
        with pytest.raises(OSError, match=r"HTTP|wait"):
            sign_in()
    assert len(server.heard) == 1
    sleep(wall=31, steady=31)
    assert sign_in()


def test_an_address_without_tokens_is_final(server: TokenServer) -> None:
    server.script = [404]
    with pytest.raises(ConnectionEnded, match="HTTP 404"):
        SignIn(server.url, "anna", "secret")()


@pytest.mark.parametrize(
    ("wall", "steady", "renews"),
    [
        (490, 490, False),
        (3600, 0, True),  # the computer slept
        (-3600, 600, True),  # somebody set its clock
        (-3600, 490, False),
    ],
)
def test_a_token_that_is_over_by_either_clock_is_renewed(
    wall: float,
    steady: float,
    renews: bool,
    server: TokenServer,
    sign_in: SignIn,
    sleep: Callable[..., None],
) -> None:
    sleep(wall=wall, steady=steady)
    sign_in()
    assert len(server.heard) == renews


def test_a_token_that_the_server_refused_is_not_given_again(
    server: TokenServer, sign_in: SignIn
) -> None:
    first = sign_in()
    sign_in.discard(first)
    second = sign_in()
    assert second != first
    sign_in.discard(first)  # by another stream, which had it too
    assert sign_in() == second
    assert len(server.heard) == 1


def test_a_fork_signs_in_by_itself_rather_than_use_up_its_parents_token(
    sign_in: SignIn, server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getpid", lambda: -1)
    with sign_in._lock:  # by another thread, at the moment of the fork
        expire(sign_in)
        sign_in()
    assert server.heard == [PASSWORD, {"refresh": "refresh-1"}]  # its parent has refresh-0


async def test_a_token_gets_through_a_proxy_that_asks_for_http_basic(
    client_server: Server, client_token: str
) -> None:
    basic = {"Authorization": "Basic " + base64.b64encode(b"staff:o/nly").decode()}
    with AskingProxy(client_server.port, username="staff", password="o/nly") as proxy:
        for userinfo, headers in (("staff:o%2Fnly@", {}), ("", basic)):
            url = f"ws://{userinfo}127.0.0.1:{proxy.port}/ws/broadcast/basic/"
            config = Config(headers=headers)
            async with connect(url, token=client_token, config=config) as stream:
                assert stream.hello is not None
                assert stream.hello.user == "anna"
        with pytest.raises(ConnectionEnded, match="refused the username"):
            SignIn(f"ws://staff:o%2Fnly@127.0.0.1:{proxy.port}/", "anna", "wrong")()
    assert proxy.handshakes == [basic["Authorization"]] * 2
