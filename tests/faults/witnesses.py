"""Clients that live through faults and keep account: who published what, who heard what.

They are written against the wire protocol alone, on the `websockets` library.
"""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

# Between attempts to connect, in seconds, with full jitter.
LONGEST_DELAY = 0.4
# In seconds; it only keeps a test from hanging.
TIMEOUT = 60.0
# How long an ack may take before the publication is sent again.
ACK_TIMEOUT = 3.0


def pick(urls: Sequence[str] | Callable[[], str], turn: int) -> str:
    """The address of this turn."""
    return urls() if callable(urls) else urls[turn % len(urls)]


@dataclass
class Gap:
    """A loss that a subscriber was told about, and when (monotonic seconds)."""

    epoch: str
    after: int
    next: int
    reason: str
    time: float


@dataclass
class Subscriber:
    """Follows a topic, comes back with its position, and holds all against section 8."""

    urls: Sequence[str] | Callable[[], str]
    token: str
    query: str = ""  # of the first connection; later ones recover
    pause: float = 0.0  # after each hundred messages, in seconds
    heard: list[Any] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # whatever the protocol rules out
    closes: Counter[int] = field(default_factory=Counter)
    recovered: Counter[bool | None] = field(default_factory=Counter)
    sessions: int = 0
    epoch: str = ""
    offset: int = 0
    is_live: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self) -> None:
        """Stay subscribed, through everything, until cancelled."""
        for turn in range(10_000):
            try:
                async with connect(
                    pick(self.urls, turn) + self._query(),
                    additional_headers={"Authorization": f"Bearer {self.token}"},
                    max_size=None,
                    open_timeout=TIMEOUT,
                    ping_interval=None,
                ) as connection:
                    await self._read(connection)
            except ConnectionClosed as error:
                self.closes[error.rcvd.code if error.rcvd else 1006] += 1
            except (OSError, InvalidHandshake, TimeoutError, EOFError):
                self.closes[0] += 1  # nobody there
            self.is_live.clear()
            await asyncio.sleep(random.random() * LONGEST_DELAY)

    def _query(self) -> str:
        return f"?epoch={self.epoch}&offset={self.offset}" if self.epoch else self.query

    async def _read(self, connection: ClientConnection) -> None:
        for count in itertools.count(1):
            message = json.loads(await connection.recv())
            if self.pause and count % 100 == 0:
                await asyncio.sleep(self.pause)
            getattr(self, f"_on_{message['type']}", self._on_other)(message)

    def _on_other(self, message: dict[str, Any]) -> None:
        if message["type"] != "hello":
            self.faults.append(f"unexpected {message}")

    def _on_subscribed(self, message: dict[str, Any]) -> None:
        self.sessions += 1
        self.recovered[message["recovered"]] += 1
        if self.epoch and message["recovered"]:
            if (message["epoch"], message["next"]) != (self.epoch, self.offset + 1):
                self.faults.append(f"recovered elsewhere: {message} after {self.offset}")
        elif self.epoch and message["recovered"] is not False:
            self.faults.append(f"asked to recover, not answered: {message}")
        elif not self.epoch:
            self.epoch, self.offset = message["epoch"], message["next"] - 1
        self.is_live.set()

    def _on_gap(self, message: dict[str, Any]) -> None:
        if message["after"] != self.offset:
            self.faults.append(f"gap after {message['after']}, not {self.offset}")
        if message["epoch"] == self.epoch and message["next"] <= self.offset:
            self.faults.append(f"gap goes back: {message}")
        self.epoch, self.offset = message["epoch"], message["next"] - 1
        self.gaps.append(
            Gap(
                message["epoch"],
                message["after"],
                message["next"],
                message["reason"],
                time.monotonic(),
            )
        )

    def _on_publication(self, message: dict[str, Any]) -> None:
        if message["offset"] != self.offset + 1 + message.get("skipped", 0):
            self.faults.append(f"offset {message['offset']} after {self.offset}")
        self.offset = message["offset"]
        self.heard.append(message["data"])


@dataclass
class Publisher:
    """Publishes 0, 1, 2, … with an id each; repeats what was not confirmed, under its id."""

    urls: Sequence[str] | Callable[[], str]
    token: str
    name: str = "p"
    in_flight: int = 32
    rate: float = 0.0  # publications a second; 0: as fast as acks come
    padding: int = 0  # characters of data beside the number
    accepted: list[Any] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    duplicates: int = 0
    next: int = 0
    is_done: bool = False
    _unconfirmed: dict[int, float] = field(default_factory=dict)  # number → when it was sent

    async def publish(self, *, until: Callable[["Publisher"], bool]) -> None:
        """Publish until told to stop, then until all that was begun is confirmed."""
        for turn in range(10_000):
            try:
                async with connect(
                    f"{pick(self.urls, turn)}?subscribe=0",
                    additional_headers={"Authorization": f"Bearer {self.token}"},
                    open_timeout=TIMEOUT,
                    ping_interval=None,
                ) as connection:
                    await self._run(connection, until)
                    return
            except (ConnectionClosed, OSError, InvalidHandshake, TimeoutError, EOFError):
                await asyncio.sleep(random.random() * LONGEST_DELAY)

    async def _run(
        self, connection: ClientConnection, until: Callable[["Publisher"], bool]
    ) -> None:
        reader = asyncio.create_task(self._read(connection))
        try:
            for number in tuple(self._unconfirmed):
                await self._send(connection, number, again=True)
            while not reader.done():
                if until(self) and not self._unconfirmed:
                    return
                await self._repeat_late(connection)
                if until(self) or len(self._unconfirmed) >= self.in_flight:
                    await asyncio.sleep(0.002)
                    continue
                await self._send(connection, self.next)
                self.next += 1
                if self.rate:
                    await asyncio.sleep(1 / self.rate)
            await reader  # raises what ended it
        finally:
            reader.cancel()

    async def _repeat_late(self, connection: ClientConnection) -> None:
        late = time.monotonic() - ACK_TIMEOUT
        for number in [n for n, sent in self._unconfirmed.items() if sent < late]:
            await self._send(connection, number, again=True)

    async def _send(
        self, connection: ClientConnection, number: int, *, again: bool = False
    ) -> None:
        self.repeated += again
        self._unconfirmed[number] = time.monotonic()
        data: Any = f"{self.name}{number}"
        if self.padding:
            data = {"number": data, "padding": "x" * self.padding}
        message = {"type": "publish", "data": data, "id": f"{self.name}{number}", "ref": number}
        await connection.send(json.dumps(message))

    async def _read(self, connection: ClientConnection) -> None:
        while True:
            message = json.loads(await connection.recv())
            number = message.get("ref")
            if message["type"] == "ack" and number in self._unconfirmed:
                del self._unconfirmed[number]
                self.duplicates += message["duplicate"]
                self.accepted.append(f"{self.name}{number}")
            elif message["type"] == "error":
                self.refused[message["code"]] += 1
                if number in self._unconfirmed:
                    # Again soon, under the same id.
                    self._unconfirmed[number] = time.monotonic() - ACK_TIMEOUT + 0.2


@dataclass
class Account:
    """What a run came to."""

    accepted: int
    missing: int
    twice: int
    gaps: int
    faults: list[str]

    @classmethod
    def of(cls, publishers: Sequence[Publisher], subscribers: Sequence[Subscriber]) -> "Account":
        """Hold what was accepted against what each subscriber heard."""
        accepted = {data for publisher in publishers for data in publisher.accepted}
        missing = twice = 0
        for subscriber in subscribers:
            heard = Counter(map(_read_number, subscriber.heard))
            missing += len(accepted - set(heard))
            twice += sum(count - 1 for count in heard.values())
        return cls(
            len(accepted),
            missing,
            twice,
            sum(len(subscriber.gaps) for subscriber in subscribers),
            [fault for subscriber in subscribers for fault in subscriber.faults],
        )

    @property
    def is_whole(self) -> bool:
        """Nothing missing, nothing twice, nothing that the protocol rules out."""
        return not (self.missing or self.twice or self.gaps or self.faults)


async def settle(
    publishers: Sequence[Publisher], subscribers: Sequence[Subscriber], timeout: float = TIMEOUT
) -> Account:
    """Wait until everybody heard everything, or the time is over; then settle the account."""
    deadline = time.monotonic() + timeout
    while (account := Account.of(publishers, subscribers)).missing:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.1)
    return account


def _read_number(data: Any) -> str:
    return str(data["number"] if isinstance(data, dict) else data)
