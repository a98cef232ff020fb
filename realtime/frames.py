"""Messages in the forms in which servers write them: each form is made once, for all sockets."""

from collections.abc import Sequence
from typing import Any

from realtime.core.framing import BINARY, TEXT, build_frame, build_head, cut_message

Event = dict[str, Any]
Payload = bytes | memoryview

# Whole frames: joined small ones, or the head and the payload of a long one.
Wire = bytes | tuple[bytes, memoryview]

# Frames up to this many bytes are joined, so that one system call takes them.
JOIN_LIMIT = 128 * 1024


class Frames:
    """Messages that leave together, with nothing between them: text, or bytes.

    `size` is that of their payloads, in bytes. Servers are given `events` (ASGI); sockets that
    this package writes itself are given `wires`.
    """

    __slots__ = ("_events", "_wires", "messages", "size")

    def __init__(self, messages: Sequence[str | Payload], size: int) -> None:
        self.messages = messages
        self.size = size
        self._events: Sequence[Event] | None = None
        self._wires: Sequence[Wire] | None = None

    @property
    def events(self) -> Sequence[Event]:
        """As ASGI events, made once."""
        if self._events is None:
            self._events = [build_event(message) for message in self.messages]
        return self._events

    @property
    def wires(self) -> Sequence[Wire]:
        """As WebSocket frames, made once; long payloads are not copied."""
        if self._wires is None:
            first = self.messages[0]
            if len(self.messages) == 1 and self.size <= JOIN_LIMIT:
                self._wires = (_build_small(first),)
            else:
                self._wires = _build_wires(self.messages)
        return self._wires


def frame_text(text: str) -> Frames:
    """One text message."""
    return Frames((text,), len(text) if text.isascii() else len(text.encode()))


def join_frames(items: Sequence[Frames]) -> Frames:
    """Several items as one, in their order."""
    messages = [message for frames in items for message in frames.messages]
    return Frames(messages, sum(frames.size for frames in items))


def frame_bytes(data: Payload) -> Frames:
    """One binary message."""
    return Frames((data,), len(data))


def build_event(message: str | Payload) -> Event:
    """The ASGI event that sends one message."""
    event: Event = {"type": "websocket.send"}
    if isinstance(message, str):
        event["text"] = message
    else:
        event["bytes"] = bytes(message)
    return event if message else _EmptyMessage(event)


# The heads of the shortest frames, by their size, made once.
_TEXT_HEADS = [build_head(TEXT, size) for size in range(126)]


def _build_small(message: str | Payload) -> bytes:
    if not isinstance(message, str):
        return build_frame(BINARY, bytes(message))
    data = message.encode()
    if len(data) < 126:
        return _TEXT_HEADS[len(data)] + data
    return build_frame(TEXT, data)


def _build_wires(messages: Sequence[str | Payload]) -> Sequence[Wire]:
    wires: list[Wire] = []
    run: list[bytes] = []
    run_size = 0
    for message in messages:
        # A character takes up to four bytes, so this is on the safe side.
        size = len(message) * 4 if isinstance(message, str) else len(message)
        if run and run_size + size > JOIN_LIMIT:
            wires.append(b"".join(run))
            run, run_size = [], 0
        if size <= JOIN_LIMIT:
            frame = _build_small(message)
            run.append(frame)
            run_size += len(frame)
        elif isinstance(message, str):
            wires += cut_message(TEXT, message.encode())
        else:
            wires += cut_message(BINARY, message)
    if run:
        wires.append(run[0] if len(run) == 1 else b"".join(run))
    return wires


class _TrueText(str):
    """An empty text that counts as true."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True


class _TrueBytes(bytes):
    """Empty bytes that count as true."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True


class _EmptyMessage(dict[str, Any]):
    """An empty message that daphne sends: it passes over one whose `get("text")` is false."""

    def get(self, key: str, default: Any = None) -> Any:
        value = super().get(key, default)
        if value == "":
            return _TrueText()
        return _TrueBytes() if value == b"" else value
