"""From bytes of a client to messages: the `websockets` library, with a short cut for small frames.

Nearly every frame is whole, small and unfragmented when it arrives. Those are unmasked and
passed on right here; from the first one on that is anything else, the rest of the data goes
whole to the library's sans-I/O protocol, until that stands between two frames again.
"""

import codecs
import logging

import numpy as np
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from realtime.core.entries import HEAD_ROOM, LongMessage

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiled wheel for this platform
    from websockets.utils import apply_mask

Message = str | bytes | LongMessage

# The library tells of each connection, and quotes bad headers, which may hold a credential; our
# own log line for a session says more.
LOGGER = logging.getLogger("realtime.server.websockets")
LOGGER.setLevel(logging.WARNING)

_FIN_TEXT = 0x81
_FIN_BINARY = 0x82
_FIN_PONG = 0x8A
_MASKED = 0x80
# The beginning of a frame up to this size is kept here until the rest has come; in bytes.
_MAX_KEPT = 4096
# A long frame is received and unmasked in turns of so many bytes at most.
_MAX_READ = 1024 * 1024


class MessageParser:
    """Turns data into messages; everything else that the protocol needs it does by itself.

    `take_answers()` has what is to be written after each `feed()`: pongs, a close. `max_size`
    bounds one message, in bytes.
    """

    def __init__(self, *, max_size: int) -> None:
        self._protocol: _Protocol | None = None
        self._max_size = max_size
        self._kept = b""  # the beginning of a small frame
        self._long: _LongFrame | None = None

    @property
    def protocol(self) -> "_Protocol":
        """The library's state machine; made when first needed, which for most is at the end."""
        if self._protocol is None:
            self._protocol = _Protocol(max_size=self._max_size)
        return self._protocol

    @property
    def close(self) -> Close | None:
        """What the peer closed with, once it has."""
        return None if self._protocol is None else self._protocol.close_rcvd

    def take_answers(self) -> list[bytes]:
        """What the protocol wants to be written; empty bytes for the end of the stream."""
        return [] if self._protocol is None else self._protocol.data_to_send()

    def find_buffer(self) -> memoryview | None:
        """Where what comes next may be received into, before it is fed; None: anywhere."""
        return None if self._long is None else self._long.free

    def feed(self, data: bytes | memoryview) -> list[Message]:
        """The messages that `data` completes; none after a fault or a close.

        Only what `find_buffer()` gave out is fed as a view.
        """
        protocol = self._protocol
        messages: list[Message] = []
        if self._long is None:
            rest = bytes(data)
        else:
            rest = self._long.add(data)
            if not self._long.is_whole:
                return messages
            if protocol is None or protocol.state is OPEN:  # else read and dropped
                messages.append(self._long.message)
            self._long = None
        if self._kept:
            rest, self._kept = self._kept + rest, b""
        if protocol is None or (protocol.is_between_messages and protocol.state is OPEN):
            position = self._take_small_frames(rest, messages)
            if position:
                rest = rest[position:]
            if self._begins_small_frame(rest):
                self._kept = rest
                return messages
            self._long = _LongFrame.begin(rest, most=self._max_size)
            if self._long is not None:
                return messages
        if rest:
            messages += self.protocol.take(rest)
        return messages

    def release(self) -> None:
        """The connection is gone: let go of an unfinished message."""
        self._kept = b""
        self._long = None
        if self._protocol is not None:
            self._protocol.release()

    def _take_small_frames(self, data: bytes, messages: list[Message]) -> int:
        """Take whole small frames from the beginning; returns where the rest begins."""
        position, end = 0, len(data)
        while end - position >= 6:
            head = data[position]
            if head != _FIN_TEXT and head != _FIN_BINARY and head != _FIN_PONG:
                break
            size = data[position + 1] - _MASKED
            start = position + 6
            if size == 126 and head != _FIN_PONG:
                start = position + 8
                if end < start:
                    break
                size = (data[position + 2] << 8) | data[position + 3]
                if size < 126:
                    break  # not the shortest form: the library's to judge
            if size < 0 or (size >= 126 and start == position + 6) or size > self._max_size:
                break
            if end - start < size:
                break
            payload = apply_mask(data[start : start + size], data[start - 4 : start])
            if head == _FIN_PONG:
                pass  # that it came is all it says
            elif head == _FIN_TEXT:
                try:
                    messages.append(payload.decode())
                except UnicodeDecodeError:
                    break  # the library fails the connection with the right code
            else:
                messages.append(payload)
            position = start + size
        return position

    def _begins_small_frame(self, rest: bytes) -> bool:
        """Whether this is a small frame as far as it goes: only the end of it is missing.

        The library would take it too, but then also all that comes behind it in the next data.
        """
        known = len(rest)
        if not known or (rest[0] != _FIN_TEXT and rest[0] != _FIN_BINARY):
            return False
        if known == 1:
            return True
        size, start = rest[1] - _MASKED, 6
        if size == 126:
            if known < 4:
                return True
            size, start = (rest[2] << 8) | rest[3], 8
            if size < 126:
                return False
        elif not 0 <= size < 126:
            return False
        return size <= min(self._max_size, _MAX_KEPT) and known < start + size


class _LongFrame:
    """A binary message in one long frame, received straight into a buffer of its size.

    It is unmasked there as it comes, while the cache still holds it.
    """

    def __init__(self, beginning: memoryview, *, mask: bytes, size: int) -> None:
        # Not zeroed: each byte is received before anybody reads it.
        self._buffer = np.empty(HEAD_ROOM + size, np.uint8)
        self._bytes = self._buffer[HEAD_ROOM:]
        self._words = self._bytes[: size // 8 * 8].view(np.uint64)
        self._view = self._bytes.data
        self._mask = np.frombuffer(mask * 2, np.uint8)
        self._word = self._mask.view(np.uint64)
        self._size = size
        self._view[: len(beginning)] = beginning
        self._filled = len(beginning)
        self._unmasked = 0  # words
        self._unmask()

    @classmethod
    def begin(cls, data: bytes, *, most: int) -> "_LongFrame | None":
        """The frame that `data` is the beginning of, if it is such a one and not whole yet."""
        if len(data) < 14 or data[0] != _FIN_BINARY or data[1] != _MASKED | 127:
            return None
        size = int.from_bytes(data[2:10], "big")
        if not 65_536 <= size <= most or len(data) >= 14 + size:
            return None
        return cls(memoryview(data)[14:], mask=data[10:14], size=size)

    @property
    def free(self) -> memoryview:
        """The part of the buffer that is to be filled next."""
        return self._view[self._filled : self._filled + _MAX_READ]

    def add(self, data: bytes | memoryview) -> bytes:
        """Take what came next, which may stand in the buffer already; returns what is behind."""
        taken = min(len(data), self._size - self._filled)
        if not isinstance(data, memoryview):
            self._view[self._filled : self._filled + taken] = data[:taken]
        self._filled += taken
        self._unmask()
        return bytes(data[taken:])

    def _unmask(self) -> None:
        whole = self._filled // 8
        words = self._words[self._unmasked : whole]
        np.bitwise_xor(words, self._word, out=words)
        self._unmasked = whole
        if self.is_whole:
            rest = self._bytes[whole * 8 :]
            np.bitwise_xor(rest, self._mask[: len(rest)], out=rest)

    @property
    def is_whole(self) -> bool:
        """Whether the last byte has come."""
        return self._filled == self._size

    @property
    def message(self) -> LongMessage:
        """The message, once it is whole."""
        return LongMessage(self._buffer.data)


class _Protocol(ServerProtocol):
    """The library's protocol, which puts frames together here, by two rules at their word.

    A close may come between the fragments of a message (RFC 6455, section 5.4), and text that
    is no UTF-8 fails the connection with the fragment that shows it (section 8.1).
    """

    def __init__(self, *, max_size: int) -> None:
        super().__init__(state=OPEN, max_size=max_size, logger=LOGGER)
        self.is_between_messages = True
        self._messages: list[Message] = []
        self._fragments: bytearray | None = None  # one buffer: fragments may be empty and many
        self._decoder: codecs.IncrementalDecoder | None = None

    def take(self, data: bytes) -> list[Message]:
        """The messages that `data` completes."""
        self.is_between_messages = False
        self.receive_data(data)
        messages, self._messages = self._messages, []
        return messages

    def release(self) -> None:
        """Free what was kept: the garbage collector would come for it much later."""
        self.parser.close()  # its frame and this object refer to each other
        self.reader.discard()
        self._fragments = None

    def recv_frame(self, frame: Frame) -> None:
        """Called by the library for each frame; what it raises fails the connection."""
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)
        self.events.clear()
        # While we wait for the answer to our close, messages are read and dropped.
        if frame.opcode in _DATA and self.state is OPEN:
            self._take_fragment(frame)
        # Only here can it be told: the buffer is empty within a frame, too.
        self.is_between_messages = self.current_size is None and not self.reader.buffer

    def _take_fragment(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            is_text = frame.opcode is Opcode.TEXT
            self._decoder = codecs.getincrementaldecoder("utf-8")() if is_text else None
        if self._decoder is not None:
            self._decoder.decode(frame.data, frame.fin)
        if not frame.fin:
            self._fragments = bytearray() if self._fragments is None else self._fragments
            self._fragments += frame.data
            return
        payload = bytes(frame.data)
        if self._fragments is not None:
            self._fragments += payload
            payload, self._fragments = bytes(self._fragments), None
        self._messages.append(payload if self._decoder is None else payload.decode())


_DATA = frozenset({Opcode.CONT, Opcode.TEXT, Opcode.BINARY})
