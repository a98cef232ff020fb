"""Messages in the forms in which servers write them."""

from typing import Any

import pytest
from daphne.ws_protocol import WebSocketProtocol
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from realtime.frames import JOIN_LIMIT, build_event, frame_bytes, frame_text, join_frames


def test_sizes_are_bytes_on_the_wire() -> None:
    assert [frame_text("abc").size, frame_text("🎉é").size, frame_bytes(b"12").size] == [3, 6, 2]


def read_wires(wires: Any) -> list[str | bytes]:
    """The messages that a client gets."""
    client = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN, max_size=None)
    for wire in wires:
        for part in wire if isinstance(wire, tuple) else (wire,):
            client.receive_data(bytes(part))
    messages: list[str | bytes] = []
    data, is_text = b"", False
    for frame in client.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode is not Opcode.CONT:
            data, is_text = b"", frame.opcode is Opcode.TEXT
        data += bytes(frame.data)
        if frame.fin:
            messages.append(data.decode() if is_text else data)
    return messages


@pytest.mark.parametrize(
    "size", [0, 1, 125, 126, 65_535, 65_536, JOIN_LIMIT, JOIN_LIMIT + 1, 3_000_000]
)
def test_clients_get_the_messages_from_the_wires(size: int) -> None:
    for frames in (frame_text("é" * size), frame_bytes(b"x" * size)):
        assert read_wires(frames.wires) == list(frames.messages)
        assert frames.wires is frames.wires  # made once
    joined = join_frames([frame_text("a"), frame_bytes(b"x" * size), frame_text("é" * size)])
    assert joined.size == 1 + 3 * size
    assert read_wires(joined.wires) == ["a", b"x" * size, "é" * size]


def test_small_messages_leave_in_one_piece_and_long_ones_are_not_copied() -> None:
    assert len(join_frames([frame_text("a"), frame_bytes(b"b")]).wires) == 1
    data = bytes(JOIN_LIMIT + 1)
    *_, (_, payload) = frame_bytes(data).wires
    assert payload.obj is data


class Recorder:
    """As much of daphne's protocol as its own reply handling touches."""

    STATE_CONNECTING = 0
    state = 3

    def __init__(self) -> None:
        self.sent: list[tuple[Any, bool]] = []

    def serverSend(self, content: Any, binary: bool) -> None:
        self.sent.append((content, binary))


@pytest.mark.parametrize(
    ("event", "sent"),
    [
        (build_event(""), ("", False)),
        (build_event(b""), (b"", True)),
        (build_event("a"), ("a", False)),
        (build_event(b"a"), (b"a", True)),
    ],
)
def test_daphne_sends_every_message_also_the_empty_one(
    event: dict[str, Any], sent: tuple[Any, bool]
) -> None:
    protocol = Recorder()
    WebSocketProtocol.handle_reply(protocol, event)
    assert protocol.sent == [sent]
    assert event == dict(event)
    assert event.get("bytes" if sent[0] in ("", "a") else "text") is None
