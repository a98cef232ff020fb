"""From the messages of a connection to what they mean: chunks joined, positions checked."""

from dataclasses import replace
from typing import TypeGuard

from realtime_client.errors import ProtocolFault
from realtime_client.messages import (
    Binary,
    Gap,
    Join,
    Leave,
    Message,
    Publication,
    ServerError,
    ServerMessage,
    Stats,
    Subscribed,
)
from realtime_client.parsing import parse_message
from realtime_client.positions import Tracker


class Incoming:
    """Takes the messages of one connection after the other."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self._header: Binary | None = None
        self._chunks: list[bytes] = []
        self._size = 0

    def begin(self) -> None:
        """A new connection: what the last one left unfinished is void."""
        self._end_binary()
        self.tracker.begin()

    def take(self, message: str | bytes) -> ServerMessage | None:
        """What a message says; None where it is unknown, or not whole yet. Raises ProtocolFault."""
        if isinstance(message, bytes):
            return self._take_chunk(message)
        if self._header is not None:
            raise ProtocolFault("a text message where a chunk was due")
        parsed = parse_message(message)
        tracker = self.tracker
        match parsed:
            case Publication():
                tracker.check(parsed.offset, skipped=parsed.skipped)
                return _with_position(parsed, tracker)
            case Stats():
                tracker.check(parsed.offset, skipped=parsed.skipped, is_stats=True)
                return _with_position(parsed, tracker)
            case Binary():
                if not self.is_reply(parsed):
                    tracker.check(parsed.offset, skipped=parsed.skipped)
                if parsed.chunks < 1:
                    raise ProtocolFault("a header without chunks")
                self._header = parsed
                return None
            case Gap():
                old = tracker.position
                tracker.lose(epoch=parsed.epoch, next=parsed.next)
                is_new = old is not None and old.epoch != parsed.epoch
                return replace(parsed, is_new_epoch=is_new, position=tracker.position)
            case Subscribed():
                tracker.subscribe(epoch=parsed.epoch, next=parsed.next, recovered=parsed.recovered)
        return parsed

    def is_reply(self, header: Binary) -> bool:
        """Whether an array was asked for, and is no publication."""
        return header.ref is not None or (
            header.offset is None and self.tracker.has_history is not False
        )

    def is_surfaced(self, message: ServerMessage) -> TypeGuard[Message]:
        """Whether a message is for whoever reads the topic."""
        match message:
            case Publication() | Stats() | Gap() | Join() | Leave():
                return True
            case Binary():
                return not self.is_reply(message)
            case ServerError():
                return message.ref is None
        return False

    def _take_chunk(self, chunk: bytes) -> Message | None:
        header = self._header
        if header is None:
            raise ProtocolFault("a binary message without a header")
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > header.size:
            raise ProtocolFault("more bytes than the header said")
        if len(self._chunks) < header.chunks:
            return None
        if self._size != header.size:
            raise ProtocolFault("fewer bytes than the header said")
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._end_binary()
        if self.is_reply(header):
            return replace(header, data=data)
        return replace(header, data=data, position=self.tracker.advance(header.offset))

    def _end_binary(self) -> None:
        self._header = None
        self._chunks = []
        self._size = 0


def _with_position(message: Publication | Stats, tracker: Tracker) -> Publication | Stats:
    return replace(message, position=tracker.advance(message.offset))
