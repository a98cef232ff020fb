"""The parts of the core that no vector speaks of."""

import json

import numpy as np
import pytest

from realtime_client import (
    ArrayError,
    Backoff,
    Gap,
    Join,
    Leave,
    ProtocolFault,
    Publication,
    ServerError,
)
from realtime_client.arrays import is_array, read_array, write_array
from realtime_client.describing import describe_message, format_message
from realtime_client.incoming import Incoming
from realtime_client.messages import Stats
from realtime_client.parsing import parse_message
from realtime_client.positions import Tracker


def header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + data


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        "{'descr': '<f8', 'shape': ()}",
        "{'descr': 8, 'fortran_order': False, 'shape': ()}",
        "{'descr': '<zz', 'fortran_order': False, 'shape': ()}",
        "{'descr': '|O', 'fortran_order': False, 'shape': ()}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': [1]}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (True,)}",
        "__import__('os').abort()",
        "(" * 3000,
    ],
)
def test_a_header_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ArrayError):
        read_array(header(text, bytes(8)))


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.zeros((1,) * 9)])
def test_an_array_that_has_no_form_on_the_wire_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ArrayError):
        write_array(array)


def test_any_order_of_bytes_and_of_axes_is_mended_on_the_way_out() -> None:
    array = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
    back = read_array(write_array(array))
    assert back.tolist() == array.tolist()
    assert (back.dtype.str, back.flags.c_contiguous) == ("<f4", True)
    assert is_array(array)
    assert not is_array([1])


@pytest.mark.parametrize("options", [(0, 2, 9), (1, 0.5, 9), (1, 2, 0), (1, 2, float("inf"))])
def test_delays_that_make_no_sense_are_refused(options: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Backoff(*options)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "1", "{}", '{"type": 1}', '{"type": ["a"]}'),
        '{"type": "publication"}',
        '{"type": "publication", "topic": "t", "offset": -1, "data": 1, "user": null, '
        '"server_time": "2026-11-24T07:45:27.643254Z"}',
        '{"type": "gap", "topic": "t", "epoch": "e", "after": 0, "next": true, "reason": "r"}',
        '{"type": "pong", "ref": 1, "server_time": "yesterday"}',
    ],
)
def test_a_malformed_message_is_a_fault(text: str) -> None:
    if json.loads(text or "0") == {"type": 1}:
        assert parse_message(text) is None
        return
    with pytest.raises(ProtocolFault, match="malformed"):
        parse_message(text)


@pytest.mark.parametrize(("size", "chunks"), [(4, 0), (1, 2)])
def test_chunks_that_do_not_fit_their_header_are_a_fault(size: int, chunks: int) -> None:
    incoming = Incoming(Tracker())
    incoming.begin()
    fields = {"type": "binary", "topic": "t", "offset": None, "format": "a/b", "user": None}
    time = "2026-11-24T07:45:27.643254Z"
    more = {"bytes": size, "chunks": chunks, "server_time": time, "ref": 1}
    messages: list[str | bytes] = [json.dumps({**fields, **more}), b"xx"]
    with pytest.raises(ProtocolFault):
        list(map(incoming.take, messages))


def test_messages_are_lines_for_people() -> None:
    time = parse_time("2026-11-24T07:45:27.643254Z")
    stats = Stats(*("t", 3, "5", 2.0, 2, 1.5, 0.5, 1.0, 2.0, time), median=1.5, skipped=2)
    lines = [
        (Publication("t", 3, {"a": 1}, None, time), "3 -: {'a': 1}"),
        (
            stats,
            "3 last 5: value 2, count 2, mean 1.5, std 0.5, min 1, max 2, median 1.5 (2 skipped)",
        ),
        (Gap("t", "e", 3, 9, "history_trimmed"), "-- lost: 5 after 3 (history_trimmed)"),
        (
            Gap("t", "e", 3, 1, "history_lost", is_new_epoch=True),
            "-- lost: an unknown number after 3 (history_lost)",
        ),
        (Join("t", "ben", "s"), "-- ben joins"),
        (Leave("t", None, "s"), "-- somebody leaves"),
        (ServerError(None, "invalid_json", "no"), "-- invalid_json: no"),
    ]
    for message, line in lines:
        assert format_message(message) == line  # type: ignore[arg-type]
        json.dumps(describe_message(message), allow_nan=False)  # type: ignore[arg-type]


def parse_time(text: str):  # type: ignore[no-untyped-def]
    message = parse_message(json.dumps({"type": "pong", "ref": 1, "server_time": text}))
    return message.server_time  # type: ignore[union-attr]
