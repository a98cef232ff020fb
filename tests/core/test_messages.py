"""The text messages: read strictly, written exactly."""

import json
import math
from typing import Any

import msgspec
import pytest

from realtime.core.errors import InvalidMessage
from realtime.core.messages import (
    Ack,
    ArrayRequest,
    Authenticate,
    BinaryHeader,
    BinaryUpload,
    HistoryQuery,
    Ping,
    PresenceQuery,
    Publication,
    Publish,
    Refresh,
    encode_data,
    encode_message,
    find_ref,
    format_time,
    parse_message,
)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "authenticate", "token": "t"}, Authenticate(token="t")),
        ({"type": "refresh", "token": "t", "ref": 1}, Refresh(token="t", ref=1)),
        ({"type": "publish", "data": None}, Publish(data=None)),
        (
            {"type": "publish", "data": [1], "ref": "r", "id": "x" * 64},
            Publish(data=[1], ref="r", id="x" * 64),
        ),
        ({"type": "binary", "chunks": 1}, BinaryUpload(chunks=1)),
        (
            {"type": "binary", "chunks": 2, "format": "image/png", "id": "a", "ref": 0},
            BinaryUpload(chunks=2, format="image/png", id="a", ref=0),
        ),
        ({"type": "request", "shape": []}, ArrayRequest(shape=[])),
        (
            {"type": "request", "shape": [0, 3], "dtype": "float32", "source": "zeros"},
            ArrayRequest(shape=[0, 3], dtype="float32", source="zeros"),
        ),
        ({"type": "presence", "ref": "r"}, PresenceQuery(ref="r")),
        ({"type": "ping"}, Ping()),
        (
            {"type": "history", "after": 0, "epoch": "e", "limit": 1000},
            HistoryQuery(after=0, epoch="e", limit=1000),
        ),
    ],
)
def test_each_message_of_the_protocol_is_read(fields: dict[str, Any], message: Any) -> None:
    assert parse_message(fields) == message


def test_array_requests_are_float64_from_random_by_default() -> None:
    request = parse_message({"type": "request", "shape": [2]})
    assert isinstance(request, ArrayRequest)
    assert (request.dtype, request.source) == ("float64", "random")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"type": "publish", "data": 1, "colour": "red"}, "colour"),
        ({"type": "publish"}, "data"),
        ({"type": "publish", "data": 1, "id": ""}, r"\$.id"),
        ({"type": "publish", "data": 1, "id": "x" * 65}, r"\$.id"),
        ({"type": "publish", "data": 1, "id": 7}, r"\$.id"),
        ({"type": "publish", "data": 1, "ref": "x" * 65}, r"\$.ref"),
        ({"type": "publish", "data": 1, "ref": 2**53 + 1}, r"\$.ref"),
        ({"type": "publish", "data": 1, "ref": 1.5}, r"\$.ref"),
        ({"type": "publish", "data": 1, "ref": True}, r"\$.ref"),
        ({"type": "binary", "chunks": 0}, r"\$.chunks"),
        ({"type": "binary"}, "chunks"),
        ({"type": "request", "shape": [-1]}, r"\$.shape"),
        ({"type": "request", "shape": [True]}, r"\$.shape"),
        ({"type": "request"}, "shape"),
        ({"type": "history", "limit": 1001}, r"\$.limit"),
        ({"type": "history", "limit": 0}, r"\$.limit"),
        ({"type": "history", "after": -1}, r"\$.after"),
        ({"type": "authenticate"}, "token"),
        ({"type": "shout"}, "shout"),
        ({"type": "hello"}, "hello"),
        ({"type": 3}, '"type" has to be a string'),
        ({"type": None}, '"type" has to be a string'),
        ({}, '"type" has to be a string'),
    ],
)
def test_a_wrong_message_is_refused_with_the_path_of_what_is_wrong(
    fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidMessage, match=says):
        parse_message(fields)


@pytest.mark.parametrize("ref", ["", "x" * 64, 0, 2**53, -(2**53), None])
def test_the_ref_of_a_wrong_message_is_found(ref: Any) -> None:
    assert find_ref({"ref": ref, "nonsense": 1}) == ref


@pytest.mark.parametrize("ref", ["x" * 65, 2**53 + 1, 1.5, [], {}])
def test_a_ref_that_is_none_counts_as_absent(ref: Any) -> None:
    assert find_ref({"ref": ref}) is None
    assert find_ref({}) is None


def test_server_messages_have_their_type_and_leave_out_only_what_is_unset() -> None:
    ack = Ack(ref=None, topic="broadcast:a", offset=None, epoch=None, duplicate=False)
    assert json.loads(encode_message(ack)) == {
        "type": "ack",
        "ref": None,
        "topic": "broadcast:a",
        "offset": None,
        "epoch": None,
        "duplicate": False,
    }
    publication = Publication(
        topic="broadcast:a",
        offset=1,
        data=msgspec.Raw(b'{"b":1}'),
        user=None,
        server_time="t",
    )
    assert "skipped" not in json.loads(encode_message(publication))
    header = BinaryHeader(
        topic="t", offset=1, format="image/png", bytes=3, chunks=1, user="u", server_time="t"
    )
    assert json.loads(encode_message(header)) == {
        "type": "binary",
        "topic": "t",
        "offset": 1,
        "format": "image/png",
        "bytes": 3,
        "chunks": 1,
        "user": "u",
        "server_time": "t",
        "ref": None,
    }


def test_numbers_that_are_not_finite_are_written_as_null() -> None:
    assert json.loads(encode_message({"mean": math.nan, "max": math.inf})) == {
        "mean": None,
        "max": None,
    }


@pytest.mark.parametrize("data", [object(), {1, 2}.__iter__(), "\ud800", {(1, 2): 3}])
def test_data_without_a_json_form_is_refused(data: Any) -> None:
    with pytest.raises(InvalidMessage, match="no JSON form"):
        encode_data(data)


def test_data_that_contains_itself_is_refused() -> None:
    data: list[Any] = []
    data.append(data)
    with pytest.raises(InvalidMessage, match="no JSON form"):
        encode_data(data)


def test_times_are_utc_with_microseconds_and_z() -> None:
    assert format_time(0) == "1970-01-01T00:00:00.000000Z"
    assert format_time(1767225600.5) == "2026-01-01T00:00:00.500000Z"
