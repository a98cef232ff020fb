"""Stored publications."""

from itertools import accumulate, pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from realtime.core.entries import (
    HEAD_ROOM,
    Chunks,
    Entry,
    LongMessage,
    decode_entry,
    decode_head,
    encode_entry,
)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.integers(0, 2**62),
    st.binary(max_size=100),
)
def test_an_entry_comes_back_as_it_was(
    format: str, user: str | None, time: int, data: bytes
) -> None:
    entry = Entry(format, user, time, data)
    assert astuple(decode_entry(encode_entry(entry))) == astuple(entry)


@pytest.mark.parametrize("sizes", [(65_536,), (0, 5, 70_000), (1, 0), (65_535, 1), ()])
def test_pieces_are_stored_as_the_whole_would_be(sizes: tuple[int, ...]) -> None:
    whole = bytes(range(256)) * 600
    starts = list(accumulate(sizes, initial=0))
    parts = [memoryview(whole)[start:end] for start, end in pairwise(starts)]
    chunks, data = Chunks(parts), whole[: starts[-1]]
    assert (len(chunks), bytes(chunks)) == (len(data), data)
    for kept in (chunks, data, memoryview(data)):
        body = encode_entry(Entry("x/y", "ann", 7, kept))
        assert astuple(decode_entry(body)) == ("x/y", "ann", 7, data)


def test_a_part_of_pieces_is_that_part_of_the_whole() -> None:
    chunks = Chunks([b"one", b"", memoryview(b"two")])
    for part in (slice(None), slice(2), slice(3), slice(5), slice(99), slice(1, 4), slice(-2)):
        assert chunks[part] == b"onetwo"[part]


LONG = bytes(range(256)) * 300


def receive(data: bytes) -> tuple[LongMessage, memoryview]:
    """A message as a socket leaves it, and the buffer that it was received into."""
    buffer = memoryview(bytearray(HEAD_ROOM) + data)
    return LongMessage(buffer), buffer


def test_a_long_message_is_stored_where_it_was_received() -> None:
    message, buffer = receive(LONG)
    assert (len(message), bytes(message), message[:9]) == (len(LONG), LONG, LONG[:9])
    body = encode_entry(Entry("x/y", "ann", 7, message))
    assert body == encode_entry(Entry("x/y", "ann", 7, LONG))
    assert body == buffer[-len(body) :]  # there, and with nothing behind it
    assert astuple(decode_entry(body)) == ("x/y", "ann", 7, LONG)


def test_nobody_can_write_into_what_was_stored() -> None:
    message, _ = receive(LONG)
    body = encode_entry(Entry("x/y", "ann", 7, message))
    assert isinstance(body, memoryview)
    for view in (body, message.view, decode_entry(body).data):
        assert isinstance(view, memoryview)
        assert view.readonly
    # The same message once more leaves alone what stands before it already.
    assert decode_entry(encode_entry(Entry("z", "bob", 8, message))).user == "bob"
    assert decode_entry(body).user == "ann"


@pytest.mark.parametrize("length", [150, 242, 243, 244, 600])
def test_a_name_that_has_no_room_before_the_data_is_stored_as_well(length: int) -> None:
    message, _ = receive(LONG)
    body = encode_entry(Entry("x/y", "n" * length, 7, message))
    assert body == encode_entry(Entry("x/y", "n" * length, 7, LONG))


def test_long_messages_may_be_pieces_of_one_publication() -> None:
    message, _ = receive(LONG)
    chunks = Chunks([b"first", message])
    assert bytes(chunks) == b"first" + LONG
    assert decode_entry(encode_entry(Entry("x/y", None, 7, chunks))).data == b"first" + LONG


def test_the_stored_form_is_one_msgpack_array_with_the_data_as_bytes() -> None:
    body = encode_entry(Entry("npy", None, 7, b"\x93"))
    assert msgspec.msgpack.decode(body) == ["npy", None, 7, b"\x93"]


@pytest.mark.parametrize("user", [None, "", "ann", "n" * 31, "n" * 32, "ü" * 254, "n" * 70_000])
@pytest.mark.parametrize(
    "time", [0, 127, 128, 255, 65_535, 2**31, 1_700_000_000_000_000, -1, -(2**40)]
)
def test_a_head_says_all_but_the_data(user: str | None, time: int) -> None:
    for format in ("npy", "application/" + "x" * 63):
        for size in (0, 1, 255, 256, 65_535, 65_536, 200_000):
            data = bytes(range(256)) * (size // 256 + 1)
            body = encode_entry(Entry(format, user, time, data[:size]))
            start = len(body) - size
            for cut in (start, start + 1, start + 300, len(body)):
                head = decode_head(memoryview(body)[:cut])
                assert astuple(head) == (format, user, time, data[: min(cut - start, size)], size)


def test_a_head_that_ends_too_early_is_refused() -> None:
    body = encode_entry(Entry("npy", "ann", 7, b"data"))
    for length in range(body.index(b"data") - 2):
        with pytest.raises(IndexError):
            decode_head(body[:length])


@pytest.mark.parametrize("body", [b"", b"\x90", msgspec.msgpack.encode(["a", None, 1, "text"])])
def test_other_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_entry(body)
