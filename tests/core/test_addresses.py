"""Which addresses count as one."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.core.addresses import group_address


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::2", "2001:db8:0:1::/64"),
        ("2001:DB8:0:1:0:0:0:1", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::1", "2001:db8:0:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),  # a UNIX socket has none
        ("testclient", "testclient"),
    ],
)
def test_an_ipv6_network_is_one_and_mapped_ipv4_is_ipv4(address: str, group: str) -> None:
    assert group_address(address) == group


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_all_addresses_of_a_64_are_one(address: ipaddress.IPv6Address, host: int) -> None:
    if address.ipv4_mapped is None:
        sibling = ipaddress.IPv6Address(int(address) >> 64 << 64 | host)
        if sibling.ipv4_mapped is None:
            assert group_address(str(address)) == group_address(str(sibling))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_itself_however_it_comes(address: ipaddress.IPv4Address) -> None:
    assert group_address(str(address)) == group_address(f"::ffff:{address}") == str(address)


@given(st.text())
def test_anything_else_stays_as_it_is(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        assert group_address(text) == text
