"""Whom failures are counted by."""

import pytest
from django.test import RequestFactory

from accounts.addresses import find_address


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("", None),
        ("unix:", None),
    ],
)
def test_ipv4_is_itself_and_ipv6_the_first_of_its_64(remote: str, address: str | None) -> None:
    assert find_address(RequestFactory().get("/", REMOTE_ADDR=remote)) == address


def test_what_a_client_writes_is_not_believed() -> None:
    request = RequestFactory().get(
        "/", REMOTE_ADDR="192.0.2.7", HTTP_X_FORWARDED_FOR="198.51.100.1", HTTP_FORWARDED="for=a"
    )
    assert find_address(request) == "192.0.2.7"
