"""Whom things are counted for, and which addresses count as one."""

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any


@lru_cache(maxsize=4096)
def group_address(address: str) -> str:
    """The address, or network, that a client's address is counted under.

    An IPv6 client owns its /64, so that is one; `::ffff:192.0.2.1` is IPv4 on an IPv6 socket.
    What is no address (a UNIX socket's client has none) stays as it is.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed), 64), strict=False))


def find_group(scope: Any) -> str:
    """What the client of an ASGI scope is counted under."""
    client = scope.get("client")
    return group_address(str(client[0])) if client else ""


def name_sender(user_id: str | None, address: str) -> str:
    """Whose a message is, as far as that is counted: a user's, or else an address's."""
    return f"address {group_address(address)}" if user_id is None else f"user {user_id}"
