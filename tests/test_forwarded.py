"""The client's address behind proxies: what they saw, never what a client wrote."""

import asyncio
import copy
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.forwarded import ForwardedMiddleware, find_address, parse_address

PEER = ["10.0.0.1", 4711]


def pass_on(
    *values: str | bytes, proxies: int, client: Any = PEER, others: Any = (), type: str = "http"
) -> Any:
    """The scope that arrives behind the middleware."""
    seen = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    headers = [(b"host", b"example.org"), *others]
    for value in values:
        value = value.encode("latin-1") if isinstance(value, str) else value
        headers.append((b"x-forwarded-for", value))
    scope = {"type": type, "headers": headers, "client": copy.copy(client)}
    asyncio.run(ForwardedMiddleware(application, trusted_proxies=proxies)(scope, None, None))
    assert seen == [scope]
    return scope


def find(*values: str | bytes, proxies: int) -> str:
    address: str = pass_on(*values, proxies=proxies)["client"][0]
    return address


# Which entry counts


@pytest.mark.parametrize("value", ["203.0.113.7", "203.0.113.7, 198.51.100.2", ""])
def test_without_trusted_proxies_the_peer_is_the_client(value: str) -> None:
    assert pass_on(value, proxies=0)["client"] == PEER


@pytest.mark.parametrize(
    ("proxies", "address"), [(1, "198.51.100.3"), (2, "198.51.100.2"), (3, "203.0.113.7")]
)
def test_behind_n_proxies_the_nth_entry_from_the_right_counts(proxies: int, address: str) -> None:
    assert find("203.0.113.7, 198.51.100.2,198.51.100.3", proxies=proxies) == address
    assert find("203.0.113.7", "198.51.100.2", "198.51.100.3", proxies=proxies) == address
    assert find("203.0.113.7,198.51.100.2", "\t198.51.100.3 ", proxies=proxies) == address


def test_what_a_client_wrote_stands_further_left_and_counts_for_nothing() -> None:
    for forged in ("1.2.3.4", "1.2.3.4, 5.6.7.8", "unknown", ",,,", "x" * 8000):
        assert find(f"{forged}, 203.0.113.7", proxies=1) == "203.0.113.7"
        assert find(forged, "203.0.113.7", proxies=1) == "203.0.113.7"


@pytest.mark.parametrize("values", [[], [""], ["203.0.113.7"]])
def test_with_fewer_entries_than_proxies_the_peer_is_the_client(values: list[str]) -> None:
    assert pass_on(*values, proxies=2)["client"] == PEER


def test_behind_a_unix_socket_there_may_be_no_peer() -> None:
    assert pass_on(proxies=1, client=None)["client"] is None
    assert pass_on("203.0.113.7", proxies=0, client=None)["client"] is None
    assert pass_on("203.0.113.7", proxies=1, client=None)["client"] == ("203.0.113.7", 0)
    assert pass_on("203.0.113.7", proxies=1, client=("", None))["client"] == ("203.0.113.7", 0)


# What is an address


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7\t", "203.0.113.7"),
        ("203.0.113.7:80", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0::0:1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
    ],
)
def test_addresses_come_with_and_without_a_port(entry: str, address: str) -> None:
    assert parse_address(entry) == address
    assert find(entry, proxies=1) == address


@pytest.mark.parametrize(
    "entry",
    [
        *("", "unknown", "_hidden", "localhost", "203.0.113", "203.0.113.7.1", "0203.0.113.7"),
        *("203.0.113.256", "203.0.113.7:", "203.0.113.7:x", "203.0.113.7:80:80", "203.0.113.7/24"),
        *("[203.0.113.7]", "[2001:db8::1", "2001:db8::1]", "[2001:db8::1]x", "[2001:db8::1]:"),
        *("[]", "[::1]80", "fe80::1%eth0", "[fe80::1%eth0]", '"203.0.113.7"', "203.0.113.7\n"),
        *("203.0.113.7\x00", "\u0661.2.3.4", "203.0.113.7:\u0661", "1", "0x7f.0.0.1", "::1::"),
    ],
)
def test_all_else_is_no_address_and_the_peer_is_the_client(entry: str) -> None:
    assert parse_address(entry) is None
    assert pass_on(entry.encode(), proxies=1)["client"] == PEER


# What comes after


def test_no_header_that_claims_an_address_is_left() -> None:
    claims = [
        (b"x-real-ip", b"1.2.3.4"),
        (b"forwarded", b"for=1.2.3.4"),
        (b"x-forwarded-proto", b"https"),
    ]
    for proxies in (0, 1):
        scope = pass_on("1.2.3.4", "203.0.113.7", proxies=proxies, others=claims)
        assert scope["headers"] == [(b"host", b"example.org"), (b"x-forwarded-proto", b"https")]


def test_websockets_have_the_same_address() -> None:
    assert pass_on("203.0.113.7", proxies=1, type="websocket")["client"] == ["203.0.113.7", 0]


def test_other_scopes_pass_untouched() -> None:
    scope = {"type": "lifespan"}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope == {"type": "lifespan"}

    asyncio.run(ForwardedMiddleware(application, trusted_proxies=1)(scope, None, None))


def test_a_server_that_keeps_the_list_of_the_peer_sees_the_client_in_it() -> None:
    """Daphne's access log is written from the list that it put into the scope."""
    kept = list(PEER)
    scope = {"type": "http", "headers": [(b"x-forwarded-for", b"203.0.113.7")], "client": kept}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        pass

    asyncio.run(ForwardedMiddleware(application, trusted_proxies=1)(scope, None, None))
    assert kept == ["203.0.113.7", 0]


def test_a_number_of_proxies_is_not_negative() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        ForwardedMiddleware(None, trusted_proxies=-1)  # type: ignore[arg-type]


# Anything at all

junk = st.binary(max_size=40) | st.text(",: []0123456789abcdef.%", max_size=30).map(str.encode)


@given(st.lists(junk, max_size=4), st.integers(0, 5))
def test_whatever_comes_the_client_is_an_address_of_ip_or_the_peer(
    values: list[bytes], proxies: int
) -> None:
    client = pass_on(*values, proxies=proxies)["client"]
    if client != PEER:
        assert str(ipaddress.ip_address(client[0])) == client[0]
        assert client[1] == 0
        assert proxies


@given(st.lists(junk, max_size=4), st.lists(st.ip_addresses(), min_size=1, max_size=4))
def test_whatever_a_client_writes_the_first_trusted_proxy_says_who_it_is(
    forged: list[bytes], seen: list[Any]
) -> None:
    """Each proxy appends to the last header, or adds one of its own."""
    headers = [(b"x-forwarded-for", value) for value in forged]
    for number, address in enumerate(seen):
        entry = str(address).partition("%")[0].encode()
        if headers and number % 2:
            headers[-1] = (b"x-forwarded-for", headers[-1][1] + b", " + entry)
        else:
            headers.append((b"x-forwarded-for", entry))
    assert find_address(headers, proxies=len(seen)) == str(seen[0]).partition("%")[0]


@given(st.text())
def test_what_is_taken_for_an_address_is_one(text: str) -> None:
    if (address := parse_address(text)) is not None:
        assert str(ipaddress.ip_address(address)) == address
