"""Stored publications."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.core.entries import Entry, decode_entry, encode_entry


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.binary(max_size=100),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.integers(0, 2**62),
)
def test_an_entry_comes_back_as_it_was(
    format: str, data: bytes, user: str | None, time: int
) -> None:
    entry = Entry(format, data, user, time)
    assert decode_entry(encode_entry(entry)) == entry


def test_the_stored_form_is_one_msgpack_array_with_the_data_as_bytes() -> None:
    body = encode_entry(Entry("npy", b"\x93", None, 7))
    assert msgspec.msgpack.decode(body) == ["npy", b"\x93", None, 7]


@pytest.mark.parametrize("body", [b"", b"\x90", msgspec.msgpack.encode(["a", "text", None, 1])])
def test_other_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_entry(body)
