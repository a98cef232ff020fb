"""Requests for another host, and others that no page can answer, leave short lines."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.server.raw import RawSocket
from tests.servers import Project, Server, start_server


@pytest.fixture(scope="module", params=["daphne", "serve"])
def public(
    request: pytest.FixtureRequest, make_project: Callable[..., Project]
) -> Iterator[Server]:
    """A server as in production."""
    project = make_project(
        DJANGO_DEBUG="false",
        DJANGO_SECRET_KEY="0123456789abcdefghijklmnopqrstuvwxyz" * 2,
        JWT_SIGNING_KEY="abcdefghijklmnopqrstuvwxyz0123456789" * 2,
        DJANGO_ALLOWED_HOSTS="localhost,127.0.0.1",
        LOG_FORMAT="text",
    )
    project.manage("collectstatic", "--no-input", "--verbosity", "0")
    server = start_server(project, request.param)
    yield server
    server.stop()


@pytest.mark.parametrize("path", ["/api/token/", "/admin/login/", "/", "/nowhere/"])
def test_a_request_for_another_host_is_refused_in_a_line(public: Server, path: str) -> None:
    before = len(public.read_log())
    answer = httpx.get(public.http + path, headers={"Host": "evil.example"})
    assert answer.status_code == 400
    if path.startswith("/api/"):
        assert answer.json()["code"] == "invalid_message"
    assert "Traceback" not in public.read_log()
    lines = [line for line in public.read_log()[before:].splitlines() if "evil.example" in line]
    assert len(lines) == 1


def test_probes_answer_whatever_the_host(public: Server) -> None:
    assert httpx.get(f"{public.http}/livez", headers={"Host": "evil.example"}).status_code == 200


FORM = "application/x-www-form-urlencoded"
MANY = "&".join(f"a{number}=1" for number in range(1100))


@pytest.mark.parametrize(
    ("path", "content_type", "body", "cookie"),
    [
        ("/admin/login/", FORM, MANY, ""),
        ("/admin/login/", FORM, "username=a%00b&password=c", ""),
        ("/admin/login/", FORM, "next=//evil.example&username=%ff%fe", ""),
        ("/admin/login/", "multipart/form-data", "nothing", ""),
        ("/admin/login/", "multipart/form-data; boundary=\xe9", "nothing", ""),
        ("/admin/login/", "multipart/form-data; boundary=a", "--a\r\nbroken", ""),
        ("/admin/login/", FORM + "; charset=nonsense", "a=b", ""),
        ("/admin/login/", FORM, "a=b", r'sessionid="aaaaaaaa\000"'),
        ("/admin/login/", FORM, "a=b", "sessionid=" + "a" * 4000),
        ("/admin/login/", FORM, "a=b", "csrftoken=\xff\xfe; sessionid=,;=;"),
        ("/api/token/", "application/json", '{"username": "a\\u0000", "password": "b"}', ""),
        ("/api/token/", "application/json", "\xff", ""),
        ("/nowhere%0d%0aX:%20a/", FORM, "", ""),
    ],
)
def test_what_a_client_gets_wrong_is_no_traceback(
    public: Server, path: str, content_type: str, body: str, cookie: str
) -> None:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body.encode('latin-1'))}",
    ]
    if cookie:
        lines.append(f"Cookie: {cookie}")
    with RawSocket(public.port) as client:
        client.send("\r\n".join((*lines, "", body)).encode("latin-1"))
        status = client.read_head()[0]
        assert 300 <= status < 500
    assert "Traceback" not in public.read_log()
