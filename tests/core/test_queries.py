"""The query of a URL, by itself."""

import pytest

from realtime.core.errors import InvalidParameter, TokenInQuery
from realtime.core.queries import (
    CREDENTIALS,
    parse_epoch,
    parse_integer,
    read_query,
    refuse_unknown,
)


def test_a_query_is_decoded() -> None:
    assert read_query(b"a=1&b=%C3%BC+x&c=&d") == {"a": "1", "b": "ü x", "c": "", "d": ""}
    assert read_query(b"") == {}


@pytest.mark.parametrize("name", CREDENTIALS)
def test_a_credential_is_refused_before_all_else_and_not_repeated(name: str) -> None:
    for query in (f"{name}=secret", f"{name}=", name, f"x=1&x=2&{name}=secret"):
        with pytest.raises(TokenInQuery) as caught:
            read_query(query.encode())
        assert name in caught.value.detail
        assert "secret" not in caught.value.detail


@pytest.mark.parametrize(
    "query", [b"\xff=1", b"a=%FF", b"a=%00", b"%00=1", b"&".join([b"a=1"] * 33)]
)
def test_a_query_that_is_no_text_or_too_long_is_refused(query: bytes) -> None:
    with pytest.raises(InvalidParameter):
        read_query(query)


def test_a_parameter_that_stands_twice_is_named() -> None:
    with pytest.raises(InvalidParameter, match=r"^b:"):
        read_query(b"a=1&b=1&b=1")


def test_an_unknown_name_is_cut_where_it_is_long() -> None:
    with pytest.raises(InvalidParameter) as caught:
        refuse_unknown({"x" * 5000: ""}, set())
    assert len(caught.value.detail) < 200


def test_a_number_within_its_bounds_is_read_and_the_error_names_them() -> None:
    assert parse_integer("limit", "07", least=1, most=7) == 7
    for text in ("0", "8", "-1", "1e3", "", "\u0663", "9" * 16):
        with pytest.raises(InvalidParameter, match=r"^limit: a whole number, 1 to 7$"):
            parse_integer("limit", text, least=1, most=7)
    with pytest.raises(InvalidParameter, match="0 or more, of at most 15 digits"):
        parse_integer("after", "x")


def test_an_epoch_is_a_short_string() -> None:
    assert parse_epoch("e" * 64) == "e" * 64
    for text in ("", "e" * 65):
        with pytest.raises(InvalidParameter, match=r"^epoch"):
            parse_epoch(text)
