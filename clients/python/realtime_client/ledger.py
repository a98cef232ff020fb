"""Publications from `publish()` to their confirmation: what is sent again, and what never may be.

A publication keeps its `id` for life, so that sending it again publishes it once. Without an id
(anonymous sessions may not give one) or on a topic without history (where it has no effect)
nothing that was sent is sent again: its outcome is unknown once the connection is lost. A topic is
taken to have a history until the server tells that it has no epoch.
"""

import heapq
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from realtime_client.errors import MessageTooBig
from realtime_client.messages import Limits


@dataclass(eq=False, slots=True)
class Pending:
    """A publication that is not confirmed. `body` is JSON text, or the bytes of a binary one."""

    ref: int
    body: str | bytes
    id: str
    has_own_id: bool = False  # given by the caller: then it is sent whoever the user is
    format: str | None = None
    first_sent: float | None = None
    last_sent: float = 0.0
    carries_id: bool = True  # as it was last sent
    attempts: int = 0
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = len(self.body)

    def build_frames(self, limits: Limits, *, with_id: bool) -> list[str | bytes]:
        """The messages to send, the last of which completes it; raises MessageTooBig."""
        id = self.id if with_id or self.has_own_id else None
        if isinstance(self.body, bytes):
            return _build_upload(self.body, limits, ref=self.ref, id=id, format=self.format)
        head: dict[str, str | int] = {"type": "publish", "ref": self.ref}
        if id is not None:
            head["id"] = id
        text = f'{json.dumps(head)[:-1]}, "data": {self.body}}}'
        size = len(text) if text.isascii() else len(text.encode())
        if size > limits.max_text_bytes:
            raise MessageTooBig(f"{size} bytes of JSON; the server takes {limits.max_text_bytes}")
        return [text]


class Ledger:
    """All publications that are not confirmed, in order. Times are seconds of any steady clock.

    `has_history` is whether the topic has one, so that an id has an effect.
    """

    def __init__(self, *, max_count: int, max_bytes: int, lifetime: float) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._lifetime = lifetime
        self.has_history = True
        self._all: dict[int, Pending] = {}
        self._bytes = 0
        self._unsent: deque[Pending] = deque()
        self._sent: dict[int, Pending] = {}
        self._later: list[tuple[float, int, Pending]] = []

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Pending]:
        return iter(tuple(self._all.values()))

    def has_room(self, size: int) -> bool:
        """Whether one more of that size may wait; an empty ledger takes any."""
        return not self._all or (
            len(self._all) < self._max_count and self._bytes + size <= self._max_bytes
        )

    def add(self, pending: Pending) -> None:
        """Take a new one."""
        self._all[pending.ref] = pending
        self._bytes += pending.size
        self._unsent.append(pending)

    def next_unsent(self, now: float) -> Pending | None:
        """The next one to send; it stays the next until it is marked or settled."""
        while self._later and self._later[0][0] <= now:
            self._unsent.append(heapq.heappop(self._later)[2])
        while self._unsent and self._unsent[0].ref not in self._all:
            self._unsent.popleft()
        return self._unsent[0] if self._unsent else None

    def find_wait(self, now: float) -> float | None:
        """How long until one that was put off is due; None if there is none."""
        return max(self._later[0][0] - now, 0.0) if self._later else None

    def mark_sent(self, pending: Pending, now: float, *, with_id: bool) -> None:
        """Its last message is about to leave: from now on it may have been published."""
        if self._unsent and self._unsent[0] is pending:
            self._unsent.popleft()
        if pending.ref not in self._all:
            return
        pending.carries_id = with_id
        if pending.first_sent is None:
            pending.first_sent = now
        pending.last_sent = now
        self._sent[pending.ref] = pending

    def settle(self, ref: object) -> Pending | None:
        """It is confirmed, refused or given up; None where it is not here (any more)."""
        pending = self._all.pop(ref, None) if type(ref) is int else None
        if pending is not None:
            self._sent.pop(pending.ref, None)
            self._bytes -= pending.size
        return pending

    def find(self, ref: object) -> Pending | None:
        """The one of that ref."""
        return self._all.get(ref) if type(ref) is int else None

    def can_repeat(self, pending: Pending) -> bool:
        """Whether sending it again publishes it once."""
        return pending.carries_id and self.has_history

    def put_off(self, pending: Pending, until: float) -> None:
        """Send it again later, under the same id."""
        self._sent.pop(pending.ref, None)
        pending.attempts += 1
        heapq.heappush(self._later, (until, pending.ref, pending))

    def disconnect(self) -> list[Pending]:
        """The connection is lost: returns those whose outcome is unknown; the others go again."""
        unknown = [pending for pending in self._sent.values() if not self.can_repeat(pending)]
        for pending in unknown:
            self.settle(pending.ref)
        again = [*self._sent.values(), *(p for p in self._unsent if p.ref in self._all)]
        self._sent.clear()
        self._unsent = deque(sorted(again, key=lambda pending: pending.ref))
        return unknown

    def find_silent(self, since: float) -> list[Pending]:
        """Those that were last sent before a time, may be sent again, and have no answer."""
        return [
            pending
            for pending in self._sent.values()
            if self.can_repeat(pending) and pending.last_sent < since
        ]

    def expire(self, now: float) -> list[Pending]:
        """Give up those that were first sent too long ago for their id to be known still."""
        late = [
            pending
            for pending in self._all.values()
            if pending.first_sent is not None and now - pending.first_sent >= self._lifetime
        ]
        for pending in late:
            self.settle(pending.ref)
        return late


def _build_upload(
    data: bytes, limits: Limits, *, ref: int, id: str | None, format: str | None
) -> list[str | bytes]:
    if len(data) > limits.max_binary_bytes:
        raise MessageTooBig(f"{len(data)} bytes; the server takes {limits.max_binary_bytes}")
    longest = limits.max_frame_bytes
    chunks = [data[start : start + longest] for start in range(0, max(len(data), 1), longest)]
    head: dict[str, str | int] = {"type": "binary", "ref": ref, "chunks": len(chunks)}
    if id is not None:
        head["id"] = id
    if format is not None:
        head["format"] = format
    return [json.dumps(head), *chunks]
