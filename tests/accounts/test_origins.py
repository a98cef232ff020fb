"""Which pages may open a WebSocket."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from accounts.origins import OriginMiddleware

ALLOWED = ["https://App.example.org", "http://localhost:5173", "https://*.pages.example.org"]


async def opens(*, origin: Any, host: str | None = "data.example.org") -> bool:
    """Whether a handshake gets through; where not, it must be closed before it is accepted."""
    origins = [] if origin is None else [origin] if isinstance(origin, str) else origin
    headers = [(b"origin", value.encode("latin-1")) for value in origins]
    if host is not None:
        headers.append((b"host", host.encode()))
    reached: list[Any] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "headers": headers}
    await OriginMiddleware(app, ALLOWED)(scope, receive, send)
    assert sent == ([] if reached else [{"type": "websocket.close"}])
    return bool(reached)


@pytest.fixture(autouse=True)
def _hosts(settings: Any) -> None:
    settings.DEBUG = False
    settings.ALLOWED_HOSTS = ["data.example.org", "[::1]", "127.0.0.1"]


async def test_without_an_origin_header_it_opens() -> None:
    assert await opens(origin=None)
    assert await opens(origin=None, host="foreign.example")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://data.example.org", "data.example.org"),
        ("http://data.example.org", "data.example.org"),
        ("https://data.example.org", "data.example.org:443"),
        ("https://data.example.org:443", "data.example.org"),
        ("http://data.example.org", "data.example.org:80"),
        ("HTTPS://DATA.example.org", "Data.Example.org"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
    ],
)
async def test_the_servers_own_host_opens(origin: str, host: str) -> None:
    assert await opens(origin=origin, host=host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://data.example.org", "data.example.org:80"),
        ("http://data.example.org:8001", "data.example.org:8000"),
        ("http://data.example.org", "data.example.org:443"),
        ("ftp://data.example.org", "data.example.org"),
        ("https://evil.example", "data.example.org"),
        ("https://data.example.org.evil.example", "data.example.org"),
        ("https://rebound.example", "rebound.example"),
        ("https://data.example.org", None),
        ("https://data.example.org", ""),
    ],
)
async def test_another_host_port_or_scheme_is_refused(origin: str, host: str | None) -> None:
    assert not await opens(origin=origin, host=host)


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.org",
        "https://APP.example.org:443",
        "http://localhost:5173",
        "https://a.pages.example.org",
        "https://a.b.pages.example.org",
    ],
)
async def test_the_allow_list_opens(origin: str) -> None:
    assert await opens(origin=origin)


@pytest.mark.parametrize(
    "origin",
    [
        "http://app.example.org",
        "https://app.example.org:8443",
        "http://localhost:5174",
        "https://pages.example.org",
        "https://evilpages.example.org",
        "http://a.pages.example.org",
        "https://a.pages.example.org.evil.example",
    ],
)
async def test_what_is_near_the_allow_list_is_refused(origin: str) -> None:
    assert not await opens(origin=origin)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "data.example.org",
        "https://",
        "https://data.example.org/",
        "https://data.example.org/path",
        "https://data.example.org\n",
        "https://user@data.example.org",
        "https://data.example.org:port",
        "https://data.example.org https://data.example.org",
        "https://d\u00e4ta.example.org",
        ["https://data.example.org", "https://data.example.org"],
        ["https://evil.example", "https://data.example.org"],
    ],
    ids=ascii,
)
async def test_what_is_not_one_origin_is_refused(origin: Any) -> None:
    assert not await opens(origin=origin)


async def test_in_development_local_names_are_the_servers_own(settings: Any) -> None:
    settings.DEBUG, settings.ALLOWED_HOSTS = True, []
    assert await opens(origin="http://localhost:8000", host="localhost:8000")
    assert await opens(origin="http://127.0.0.1:8000", host="127.0.0.1:8000")
    assert not await opens(origin="http://rebound.example", host="rebound.example")


@pytest.mark.parametrize("entry", ["app.example.org", "https://app.example.org/", "*", "null"])
def test_a_malformed_entry_of_the_allow_list_stops_the_start(entry: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="write it like"):
        OriginMiddleware(None, [entry])  # type: ignore[arg-type]


async def test_http_is_not_looked_at() -> None:
    reached: list[Any] = []

    async def app(*call: Any) -> None:
        reached.append(call)

    scope = {"type": "http", "headers": [(b"origin", b"null")]}
    await OriginMiddleware(app)(scope, None, None)  # type: ignore[arg-type]
    assert reached == [(scope, None, None)]
