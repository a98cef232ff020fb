"""Which web pages may open a WebSocket: the server's own, and those on the allow-list.

A browser sends cookies and certificates along with any page's WebSocket and asks no one
first, so the server has to look at the Origin itself (RFC 6455, section 10.2).
"""

import re
from collections.abc import Iterable
from typing import NamedTuple, Self

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host

from accounts.asgi_types import ASGIApp, Receive, Scope, Send

_DEFAULT_PORTS = {"http": "80", "https": "443"}

# RFC 6454, section 7.1: scheme, host and port, and nothing after them.
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_.*-]+)(:(?P<port>\d{1,5}))?",
    re.ASCII | re.IGNORECASE,
)


class Origin(NamedTuple):
    """An origin with its port written out; `port` is empty where the scheme has no default."""

    scheme: str
    host: str
    port: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError where the text is no origin (as `null` is none)."""
        match = _ORIGIN.fullmatch(text)
        if match is None:
            raise ValueError("not of the form scheme://host[:port]")
        scheme, host = match["scheme"].lower(), match["host"].lower()
        return cls(scheme, host, match["port"] or _DEFAULT_PORTS.get(scheme, ""))

    def covers(self, other: "Origin") -> bool:
        """Whether this entry of the allow-list is that origin, or its `*.` stands for it."""
        if (self.scheme, self.port) != (other.scheme, other.port):
            return False
        if self.host.startswith("*."):
            return other.host.endswith(self.host[1:])
        return self.host == other.host


class OriginMiddleware:
    """Refuses (HTTP 403) a WebSocket handshake from a foreign page.

    `allowed_origins` holds `scheme://host[:port]`; a host `*.example.org` stands for every
    subdomain of example.org. No Origin header passes: it was no browser.
    """

    def __init__(self, app: ASGIApp, allowed_origins: Iterable[str] = ()) -> None:
        self.app = app
        self.allowed = [_parse_allowed(entry) for entry in allowed_origins]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the handshake on, or close it before it is accepted."""
        if scope["type"] == "websocket" and not self.allows(scope):
            await receive()
            await send({"type": "websocket.close"})
            return
        await self.app(scope, receive, send)

    def allows(self, scope: Scope) -> bool:
        """Whether the handshake's Origin, where it has one, is ours or on the list."""
        origins = _header_values(scope, b"origin")
        if not origins:
            return True
        if len(origins) > 1:
            return False
        try:
            origin = Origin.parse(origins[0])
        except ValueError:
            return False
        return _is_own(origin, _header_values(scope, b"host")) or any(
            entry.covers(origin) for entry in self.allowed
        )


def build_pattern(entry: str) -> str:
    """An entry of the allow-list as a regular expression, for CORS headers.

    It takes what `OriginMiddleware` takes, as browsers write it; raises ImproperlyConfigured.
    """
    scheme, host, port = _parse_allowed(entry)
    if host.startswith("*."):
        pattern = r"[a-z0-9_-]+(\.[a-z0-9_-]+)*" + re.escape(host[1:])
    else:
        pattern = re.escape(host)
    end = "" if port == _DEFAULT_PORTS.get(scheme, "") else f":{port}"
    return f"{re.escape(scheme)}://{pattern}{end}\\Z"


def is_own_origin(origin: str, *, host: str) -> bool:
    """Whether an Origin header names the server itself, known as `host` (`name[:port]`)."""
    try:
        return _is_own(Origin.parse(origin), [host])
    except ValueError:
        return False


def is_foreign_page(request: HttpRequest) -> bool:
    """Whether a page sends this that is neither of this server nor on the allow-list.

    Browsers say so in two headers that no page can write. Without either it was no browser.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site == "same-origin":
        return False
    origin = request.headers.get("Origin")
    if origin is None:
        return site == "cross-site"
    try:
        parsed = Origin.parse(origin)
    except ValueError:
        return True
    return not _is_own(parsed, [request.get_host()]) and not any(
        Origin.parse(entry).covers(parsed) for entry in settings.ALLOWED_ORIGINS
    )


def _is_own(origin: Origin, hosts: list[str]) -> bool:
    if origin.scheme not in _DEFAULT_PORTS or len(hosts) != 1:
        return False
    host, port = split_domain_port(hosts[0])
    # Whether TLS ended at a proxy is not to be seen here, so the page's scheme gives the default.
    if (host, port or _DEFAULT_PORTS[origin.scheme]) != (origin.host, origin.port):
        return False
    # Else a page whose name was pointed at this server (DNS rebinding) would be its own host.
    return validate_host(host, _allowed_hosts())


def _allowed_hosts() -> list[str]:
    if settings.DEBUG and not settings.ALLOWED_HOSTS:
        # As HttpRequest.get_host has it.
        return [".localhost", "127.0.0.1", "[::1]"]
    return list(settings.ALLOWED_HOSTS)


def _header_values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _parse_allowed(entry: str) -> Origin:
    try:
        return Origin.parse(entry)
    except ValueError as error:
        raise ImproperlyConfigured(
            f"The allowed origin {entry!r} is {error}: write it like https://app.example.org, "
            "without a path or a final slash."
        ) from error
