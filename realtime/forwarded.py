"""Whose connection it is, behind proxies: the address is taken from where a client cannot write.

Each proxy appends the address that it sees to X-Forwarded-For, and the last one is the peer of
this server. Behind N of them the client's address is the N-th entry from the right; what stands
further left is what the client itself has sent.
"""

from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from typing import Any

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

_FORWARDED_FOR = b"x-forwarded-for"
# Nothing after this reads another address out of a header.
_REMOVED = frozenset({_FORWARDED_FOR, b"x-real-ip", b"forwarded"})


class ForwardedMiddleware:
    """Sets the `client` of every scope, and takes out the headers that claim one.

    With `trusted_proxies=0` it is the peer's own address, whatever the headers say. So it is
    where there are fewer entries than proxies, or the entry is no address of IP.
    """

    def __init__(self, app: ASGIApp, *, trusted_proxies: int) -> None:
        if trusted_proxies < 0:
            raise ValueError("trusted_proxies is a number of proxies: 0 or more")
        self.app = app
        self._proxies = trusted_proxies

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one scope."""
        if scope["type"] in ("http", "websocket"):
            self._set_client(scope)
        await self.app(scope, receive, send)

    def _set_client(self, scope: Any) -> None:
        address = find_address(scope["headers"], proxies=self._proxies)
        # In place: a copy of the scope would live as long as the session.
        scope["headers"] = [header for header in scope["headers"] if header[0] not in _REMOVED]
        if address is None:
            return
        client = scope.get("client")
        if isinstance(client, list):  # daphne's own, which its access log reads afterwards
            client[:] = [address, 0]
        else:
            scope["client"] = (address, 0)


def find_address(headers: Headers, *, proxies: int) -> str | None:
    """The address that the outermost of so many proxies saw; None where it is not to be had."""
    if proxies == 0:
        return None
    entries = b",".join(value for name, value in headers if name == _FORWARDED_FOR)
    parts = entries.rsplit(b",", proxies)
    if len(parts) < proxies:
        return None
    return parse_address(parts[-proxies].decode("latin-1"))


def parse_address(entry: str) -> str | None:
    """The address of IP in `address`, `ipv4:port` or `[ipv6]:port`; None for all else."""
    entry = entry.strip(" \t")
    if entry.startswith("["):
        entry, bracket, port = entry[1:].partition("]")
        if not bracket or ":" not in entry or (port and not _is_port(port)):
            return None
    elif entry.count(":") == 1:
        entry, colon, port = entry.partition(":")
        if not _is_port(colon + port):
            return None
    if "%" in entry:
        return None  # a zone means something on the machine of the proxy only
    try:
        return str(ip_address(entry))
    except ValueError:
        return None


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isascii() and text[1:].isdecimal()
