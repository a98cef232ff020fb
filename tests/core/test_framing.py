"""Frames from the server, read back by the sans-I/O client of the `websockets` library."""

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from realtime.core.framing import BINARY, PING, PONG, TEXT, build_close, build_frame


def read_frames(data: bytes) -> list[Frame]:
    client = ClientProtocol(parse_uri("ws://localhost/"), state=OPEN, max_size=None)
    client.receive_data(data)
    assert client.parser_exc is None
    return [event for event in client.events_received() if isinstance(event, Frame)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_frame_of_every_length_is_read_back(opcode: int, size: int) -> None:
    payload = b"x" * size
    (frame,) = read_frames(build_frame(opcode, payload))
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (opcode, True, payload)


@pytest.mark.parametrize(("size", "head"), [(125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_the_length_has_its_shortest_form(size: int, head: int) -> None:
    assert len(build_frame(BINARY, b"x" * size)) == head + size


@pytest.mark.parametrize("opcode", [PING, PONG])
def test_a_control_frame_carries_its_payload(opcode: int) -> None:
    (frame,) = read_frames(build_frame(opcode, b"payload"))
    assert (frame.opcode, bytes(frame.data)) == (opcode, b"payload")


@pytest.mark.parametrize("code", [1000, 1002, 1007, 1009, 1011, 1012, 1013, 3000, 4501])
def test_a_close_frame_carries_its_code_and_reason(code: int) -> None:
    (frame,) = read_frames(build_close(code, "warum? darüm"))
    assert Close.parse(bytes(frame.data)) == Close(code, "warum? darüm")


def test_a_close_frame_can_be_without_a_reason() -> None:
    (frame,) = read_frames(build_close(1000, ""))
    assert Close.parse(bytes(frame.data)) == Close(1000, "")


@pytest.mark.parametrize(
    ("reason", "kept"), [("x" * 200, "x" * 123), ("ü" * 100, "ü" * 61), ("🎉" * 40, "🎉" * 30)]
)
def test_a_long_reason_is_cut_between_two_characters(reason: str, kept: str) -> None:
    (frame,) = read_frames(build_close(4500, reason))
    assert Close.parse(bytes(frame.data)) == Close(4500, kept)
