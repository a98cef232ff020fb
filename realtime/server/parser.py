"""From bytes of a client to messages, RFC 6455; the `websockets` library closes connections.

Nearly every frame is whole, small and unfragmented when it arrives: those have a short way.
What ends a connection, a close frame or a fault, goes to the library's sans-I/O protocol, which
answers it; what comes after that is dropped.
"""

import codecs
import logging

from websockets.exceptions import PayloadTooBig
from websockets.frames import Close
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from realtime.core.close_codes import CloseCode
from realtime.core.entries import LongMessage
from realtime.core.framing import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, build_frame
from realtime.server.buffers import allocate
from realtime.server.long_frame import Allocate, LongFrame

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiled wheel for this platform
    from websockets.utils import apply_mask

Message = str | bytes | LongMessage

# The library tells of each connection, and quotes bad headers, which may hold a credential; our
# own log line for a session says more.
LOGGER = logging.getLogger("realtime.server.websockets")
LOGGER.setLevel(logging.WARNING)

# So many frames of one socket are handled in one turn of the event loop: a read may hold
# thousands of tiny ones, while everybody else waits.
FRAMES_PER_TURN = 64
_FIN = 0x80
_FIN_TEXT = _FIN | TEXT
_FIN_BINARY = _FIN | BINARY
_WHOLE = frozenset({_FIN_TEXT, _FIN_BINARY})
_MASKED = 0x80
# An empty list takes 56 bytes: who has nothing to answer shares this one, which stays empty.
_NO_ANSWERS: list[bytes] = []
_OPCODES = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
_MAX_CONTROL = 125
# The beginning of a frame with a payload of up to this size is kept until the rest has come, and
# put together then; a longer one has a buffer of its own. In bytes.
MAX_KEPT = 4096
# Where all goes that nobody looks at.
_DROPPED = memoryview(bytearray(64 * 1024))
# From this size on a binary message stays in the buffer that it was received into, in bytes.
_LONG_MESSAGE = 65_536


class MessageParser:
    """Turns data into messages; everything else that the protocol needs it does by itself.

    `allocate` makes the buffers of long frames.

    `take_answers()` has what is to be written after each `feed()`: pongs, a close. `max_size`
    bounds one message, and `max_text` one of text, in bytes; they may change between messages.
    """

    __slots__ = (
        "_allocate",
        "_answers",
        "_decoder",
        "_fragments",
        "_is_dropping",
        "_is_over",
        "_kept",
        "_long",
        "_opcode",
        "_protocol",
        "has_more",
        "is_quiet",
        "max_size",
        "max_text",
        "other_frames",
        "stops_at_message",
    )

    def __init__(
        self, *, max_size: int, max_text: int | None = None, allocate: Allocate = allocate
    ) -> None:
        self._allocate = allocate
        self.max_size = max_size
        self.max_text = max_size if max_text is None else max_text
        # Whether a message ends the turn: what follows it stays as it came.
        self.stops_at_message = False
        # Frames that were no message, or none that anybody gets: control frames, fragments.
        self.other_frames = 0
        # Whether all that was fed last were short messages, and perhaps the beginning of one.
        self.is_quiet = True
        # Whether frames were left for a later turn: `feed(b"")` goes on with them.
        self.has_more = False
        self._protocol: ServerProtocol | None = None
        self._is_over = False  # a close has come, or a fault: the library drops all the rest
        self._is_dropping = False  # we have closed, and wait for the answer
        self._answers = _NO_ANSWERS
        self._kept = b""  # the beginning of a small frame, or what was left for later
        self._long: LongFrame | None = None
        self._opcode = CONTINUATION  # of the message whose fragments come
        self._fragments: bytearray | None = None  # one buffer: they may be empty and many
        self._decoder: codecs.IncrementalDecoder | None = None

    @property
    def protocol(self) -> ServerProtocol:
        """The library's state machine; made when first needed, which is at the end."""
        if self._protocol is None:
            self._protocol = ServerProtocol(state=OPEN, max_size=self.max_size, logger=LOGGER)
        return self._protocol

    @property
    def close(self) -> Close | None:
        """What the peer closed with, once it has."""
        return None if self._protocol is None else self._protocol.close_rcvd

    @property
    def received(self) -> int:
        """How many bytes have come of what is not a whole message yet."""
        received = len(self._kept)
        if self._long is not None:
            received += self._long.filled
        if self._fragments is not None:
            received += len(self._fragments)
        return received

    @property
    def held(self) -> int:
        """What that takes of the memory, in bytes."""
        return self.received if self._long is None else self.received + self._long.unused

    def take_answers(self) -> list[bytes]:
        """What the protocol wants to be written; empty bytes for the end of the stream."""
        answers = self._answers
        if answers:
            self._answers = _NO_ANSWERS
        if self._protocol is not None:
            answers = answers + self._protocol.data_to_send()
        return answers

    def find_buffer(self) -> memoryview | None:
        """Where what comes next may be received into, before it is fed; None: anywhere."""
        if self._is_over:
            return _DROPPED
        return None if self._long is None else self._long.free

    def feed(self, data: bytes | memoryview) -> list[Message]:
        """The messages that `data` completes, of one turn; none after a fault or a close.

        Only what `find_buffer()` gave out is fed as a view.
        """
        messages: list[Message] = []
        self.is_quiet = True
        if self._protocol is not None:
            self.is_quiet = False
            if self._is_over:
                return messages
            self._is_dropping = self._protocol.state is not OPEN
        self.has_more = False
        if self._long is None:
            rest = bytes(data)
        else:
            self.is_quiet = False
            rest = self._long.add(data)
            if not self._long.is_whole:
                return messages
            long, self._long = self._long, None
            self._take_long(long, messages)
            if self._is_over:
                return messages
        if self._kept:
            rest, self._kept = self._kept + rest, b""
        position = self._take_frames(rest, messages)
        if position < len(rest) and not self._is_over:
            self._kept = rest[position:]
            self.is_quiet = self.is_quiet and len(rest) - position <= MAX_KEPT + 8
        return messages

    def keep(self, data: bytes) -> None:
        """Look at this in a later turn: when fed next, be it with nothing."""
        if not self._is_over:
            self._kept += data
            self.has_more = True

    def fail(self, code: CloseCode, reason: str) -> None:
        """Close with this code, and drop what was kept and all that comes."""
        self._drop()
        self._is_over, self.is_quiet = True, False
        self.protocol.fail(code, reason)

    def release(self) -> None:
        """The connection is gone: let go of an unfinished message."""
        self._drop()
        if self._protocol is not None:
            # Its frame and the protocol refer to each other: the garbage collector would come
            # for them much later.
            self._protocol.parser.close()

    def _drop(self) -> None:
        self._kept, self._long, self._fragments = b"", None, None
        self.has_more = False

    # Frames

    def _take_frames(self, data: bytes, messages: list[Message]) -> int:
        """Take whole frames from the beginning, as many as a turn may; returns where it ended."""
        position, end = 0, len(data)
        left, stops = FRAMES_PER_TURN, self.stops_at_message
        while end - position >= 2:
            if not left or (stops and messages):
                self.has_more, self.is_quiet = True, False
                break
            left -= 1
            head = data[position]
            if head in _WHOLE and self._fragments is None and not self._is_dropping:
                # The short way, for nearly all: written out, without calls.
                size, start = data[position + 1] - _MASKED, position + 6
                if size >= 126:
                    start = position + 8
                    is_known = size == 126 and end >= start
                    size = (data[position + 2] << 8) | data[position + 3] if is_known else -1
                if 0 <= size <= end - start and size <= self.max_text:
                    payload = apply_mask(data[start : start + size], data[start - 4 : start])
                    try:
                        messages.append(payload.decode() if head == _FIN_TEXT else payload)
                    except UnicodeDecodeError as error:
                        self._fail_text(error)
                        break
                    position = start + size
                    continue
            before, self.is_quiet = position, False
            position = self._take_any(data, position, messages)
            if position == before or self._is_over or self._long is not None:
                break  # a part of a frame, or the end
        return position

    def _take_any(self, data: bytes, position: int, messages: list[Message]) -> int:
        """Take whatever frame comes next, or begin a long one; a part of one stays."""
        head, second, end = data[position], data[position + 1], len(data)
        size, start = second & 0x7F, position + 2
        if size == 126:
            size, start = int.from_bytes(data[start : start + 2], "big"), start + 2
        elif size == 127:
            size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        opcode = head & 0x0F
        if opcode not in _OPCODES:
            return self._refuse("invalid opcode", end)
        if not second & _MASKED:
            return self._refuse("incorrect masking", end)
        if end < start:
            return position
        fault = self._find_fault(head, size)
        if self._is_over or fault is not None:
            return self._refuse(fault, end)
        start += 4
        if end < start:
            return position
        if end - start < size:
            if size <= MAX_KEPT:
                return position
            mask = data[start - 4 : start]
            self._long = LongFrame(
                memoryview(data)[start:],
                head=head,
                mask=mask,
                size=size,
                allocate=self._allocate,
            )
            return end
        if opcode == CLOSE:
            self._drop()
            self._is_over = True
            self.protocol.receive_data(data[position : start + size])
            return end
        payload = apply_mask(data[start : start + size], data[start - 4 : start])
        if opcode >= CLOSE:
            self.other_frames += 1
            if opcode == PING:
                if self._answers is _NO_ANSWERS:
                    self._answers = []
                self._answers.append(build_frame(PONG, payload))
        else:
            self._take_payload(head, payload, messages)
        return start + size

    def _find_fault(self, head: int, size: int) -> str | None:
        """What the header of a frame does wrong; a message that is too long is failed here."""
        opcode = head & 0x0F
        if opcode >= CLOSE:
            if head & 0x70:
                return "reserved bits must be 0"
            if size > _MAX_CONTROL:
                return "control frame too long"
            return None if head & _FIN else "fragmented control frame"
        begun = None if self._fragments is None else len(self._fragments)
        most = self.max_text if (opcode or self._opcode) == TEXT else self.max_size
        if size > most - (begun or 0):
            error = PayloadTooBig(size, most - (begun or 0), begun)
            self.fail(CloseCode.MESSAGE_TOO_BIG, str(error))
        elif head & 0x70:
            return "reserved bits must be 0"
        elif opcode == CONTINUATION and begun is None:
            return "unexpected continuation frame"
        elif opcode != CONTINUATION and begun is not None:
            return "expected a continuation frame"
        return None

    def _refuse(self, fault: str | None, end: int) -> int:
        """Fail for a fault, unless that is done; returns where the data is taken up to."""
        if not self._is_over:
            self.fail(CloseCode.PROTOCOL_ERROR, fault or "")
        return end

    # Messages

    def _take_long(self, frame: LongFrame, messages: list[Message]) -> None:
        is_binary = frame.head == _FIN_BINARY and len(frame.payload) >= _LONG_MESSAGE
        if is_binary and not self._is_dropping:
            messages.append(frame.message)
        else:
            self._take_payload(frame.head, frame.payload, messages)

    def _take_payload(
        self, head: int, payload: bytes | memoryview, messages: list[Message]
    ) -> None:
        """A whole data frame: a message, or a fragment of one."""
        opcode, is_final = head & 0x0F, head & _FIN
        if opcode != CONTINUATION:
            self._opcode = opcode
            self._decoder = codecs.getincrementaldecoder("utf-8")() if opcode == TEXT else None
        if self._decoder is not None and not self._is_dropping:
            try:
                # Text that is no UTF-8 fails with the fragment that shows it (section 8.1).
                self._decoder.decode(payload, bool(is_final))
            except UnicodeDecodeError as error:
                self._fail_text(error)
                return
        if not is_final:
            self.other_frames += 1
            self._fragments = bytearray() if self._fragments is None else self._fragments
            self._fragments += payload
            return
        fragments, self._fragments = self._fragments, None
        if self._is_dropping:
            self.other_frames += 1
            return
        whole = payload if fragments is None else fragments + payload
        messages.append(bytes(whole) if self._opcode == BINARY else str(whole, "utf-8"))

    def _fail_text(self, error: UnicodeDecodeError) -> None:
        self.fail(CloseCode.INVALID_PAYLOAD, f"{error.reason} at position {error.start}")
