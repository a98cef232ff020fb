"""Whom failures are counted by."""

from ipaddress import IPv6Address, ip_address, ip_network

from django.http import HttpRequest

# What a household or a rented machine gets to itself: single addresses of it are free to change.
IPV6_PREFIX = 64


def find_address(request: HttpRequest) -> str | None:
    """The address that a request comes from; of IPv6 the first of its /64; None for no address.

    What proxies say has been dealt with before: `REMOTE_ADDR` is all that is looked at.
    """
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:  # a UNIX socket has none
        return None
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    network = ip_network((int(address), IPV6_PREFIX), strict=False)
    return str(network.network_address)
