"""From bytes of a client to messages: the `websockets` library, with a short cut for small frames.

Nearly every frame is whole, small and unfragmented when it arrives. Those are unmasked and
passed on right here; from the first one on that is anything else, the rest of the data goes
whole to the library's sans-I/O protocol, until that stands between two frames again.
"""

import codecs
import logging

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiled wheel for this platform
    from websockets.utils import apply_mask

Message = str | bytes

# The library tells of each connection; our own log line for a session says more.
_LOGGER = logging.getLogger("realtime.server.websockets")
_LOGGER.setLevel(logging.WARNING)

_FIN_TEXT = 0x81
_FIN_BINARY = 0x82
_MASKED = 0x80


class _Protocol(ServerProtocol):
    """The library's protocol with two rules of the RFC taken at their word."""

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            # A close may come between the fragments of a message (section 5.4).
            self.current_size = None
        super().recv_frame(frame)


class MessageParser:
    """Turns data into messages; everything else that the protocol needs it does by itself.

    `protocol` is the library's state machine: its `data_to_send()` has answers (pongs, close)
    to be written after each `feed()`. `max_size` bounds one message, in bytes.
    """

    def __init__(self, *, max_size: int) -> None:
        self.protocol = _Protocol(state=OPEN, max_size=max_size, logger=_LOGGER)
        self.pongs = 0
        self.close: Close | None = None
        self._max_size = max_size
        self._fragments: list[bytes] = []
        self._decoder: codecs.IncrementalDecoder | None = None

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes; none after a fault or a close."""
        messages: list[Message] = []
        position = self._take_small_frames(data, messages) if self._is_between_frames() else 0
        if position < len(data):
            self.protocol.receive_data(data[position:] if position else data)
            for event in self.protocol.events_received():
                if isinstance(event, Frame):
                    self._take_frame(event, messages)
        return messages

    def _is_between_frames(self) -> bool:
        protocol = self.protocol
        return (
            protocol.state is OPEN
            and protocol.current_size is None
            and not protocol.reader.buffer
            and not protocol.eof_sent
        )

    def _take_small_frames(self, data: bytes, messages: list[Message]) -> int:
        """Take whole small frames from the beginning; returns where the rest begins."""
        position, end = 0, len(data)
        while end - position >= 6:
            head = data[position]
            if head != _FIN_TEXT and head != _FIN_BINARY:
                break
            size = data[position + 1] - _MASKED
            start = position + 6
            if size == 126:
                start = position + 8
                if end < start:
                    break
                size = (data[position + 2] << 8) | data[position + 3]
                if size < 126:
                    break  # not the shortest form: the library's to judge
            if size < 0 or (size == 127 and start == position + 6) or size > self._max_size:
                break
            if end - start < size:
                break
            payload = apply_mask(data[start : start + size], data[start - 4 : start])
            if head == _FIN_TEXT:
                try:
                    messages.append(payload.decode())
                except UnicodeDecodeError:
                    break  # the library fails the connection with the right code
            else:
                messages.append(payload)
            position = start + size
        return position

    def _take_frame(self, frame: Frame, messages: list[Message]) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                self._take_fragment(frame, messages)
            case Opcode.PONG:
                self.pongs += 1
            case Opcode.CLOSE:
                self.close = self.protocol.close_rcvd
            case _:
                pass  # a ping, which the library has answered

    def _take_fragment(self, frame: Frame, messages: list[Message]) -> None:
        if self.protocol.close_sent is not None and self.protocol.close_rcvd is None:
            return
        if frame.opcode is not Opcode.CONT:
            is_text = frame.opcode is Opcode.TEXT
            self._decoder = codecs.getincrementaldecoder("utf-8")() if is_text else None
        self._fragments.append(bytes(frame.data))
        if self._decoder is not None:
            try:
                # Fragment by fragment, so that a fault is found when it comes.
                self._decoder.decode(frame.data, frame.fin)
            except UnicodeDecodeError as error:
                self.protocol.fail(1007, f"{error.reason} at position {error.start}")
                return
        if frame.fin:
            payload = b"".join(self._fragments)
            self._fragments.clear()
            messages.append(payload if self._decoder is None else payload.decode())
