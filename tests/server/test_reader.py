"""One connection's events, on their way to the application, and when its socket is read."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from realtime.conf import build_settings
from realtime.core.close_codes import CloseCode
from realtime.core.framing import BINARY, CONTINUATION, PING, TEXT
from realtime.limits import FIRST_MESSAGE_BYTES, HeldMemory
from realtime.limits.allowances import Allowances
from realtime.server.account import EARLY_FRAMES
from realtime.server.parser import FRAMES_PER_TURN
from realtime.server.reader import EARLY_BYTES, RESUME_AT, SocketReader
from tests.server.raw import build

PATIENCE = 30.0  # in seconds; it only keeps a test from hanging
MIB = 1024 * 1024


@dataclass
class Transport:
    """Says whether it would read now."""

    is_reading: bool = True

    def pauseProducing(self) -> None:
        self.is_reading = False

    def resumeProducing(self) -> None:
        self.is_reading = True


@dataclass
class Socket:
    """A reader on a transport that is none, and what it has told its connection."""

    settings: dict[str, Any] = field(default_factory=dict)
    memory: HeldMemory = field(default_factory=lambda: HeldMemory(per_owner=0, per_process=0))
    answers: list[bytes] = field(default_factory=list)
    ends: list[tuple[CloseCode, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.transport = Transport()
        self.reader = SocketReader(
            self.transport,
            build_settings(self.settings),
            write=self.answers.extend,
            fail=self._fail,
            cut=self._fail,
        )

    def _fail(self, code: CloseCode, reason: str) -> None:
        self.ends.append((code, reason))
        self.reader.parser.fail(code, reason)
        self.reader.stop()

    def open(self, *, is_own: bool = False) -> "SocketReader":
        """Accepted; where the session is one of this package's it has not begun yet."""
        if is_own:
            self.reader.attend(self.memory, owner="address x")
        self.reader.accept(self.memory, owner="address x")
        return self.reader

    def begin(self) -> "SocketReader":
        reader = self.open(is_own=True)
        reader.begin(None, owner="user 1")
        return reader


async def read(reader: SocketReader, count: int = 1) -> list[Any]:
    """The data of so many messages."""
    async with asyncio.timeout(PATIENCE):
        events = [await reader.receive() for _ in range(count)]
    return [event.get("text", event.get("bytes")) for event in events]


async def test_no_message_is_lost_when_a_receive_is_cancelled_as_it_comes() -> None:
    reader = Socket().open()
    receiving = asyncio.create_task(reader.receive())
    await asyncio.sleep(0)
    reader.take(build(TEXT, b"first") + build(TEXT, b"second"))
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert await read(reader, 2) == ["first", "second"]


async def test_nothing_is_read_until_a_session_asks_for_its_first_message() -> None:
    socket = Socket()
    assert not socket.transport.is_reading
    reader = socket.open(is_own=True)
    assert not socket.transport.is_reading
    asking = asyncio.create_task(read(reader))
    await asyncio.sleep(0)
    assert socket.transport.is_reading
    reader.take(build(TEXT, b"credential"))
    assert not socket.transport.is_reading
    assert await asking == ["credential"]
    assert not socket.transport.is_reading
    reader.begin(None, owner="user 1")
    assert socket.transport.is_reading


async def test_what_is_behind_the_first_message_waits_for_the_session_to_begin() -> None:
    socket = Socket()
    reader = socket.open(is_own=True)
    asking = asyncio.create_task(read(reader))
    await asyncio.sleep(0)
    assert reader.plan_read() == FIRST_MESSAGE_BYTES + 14
    reader.take(build(TEXT, b"credential") + build(TEXT, b"one") + build(TEXT, b"two")[:5])
    assert await asking == ["credential"]
    reader.begin(None, owner="user 1")
    assert await read(reader) == ["one"]
    reader.take(build(TEXT, b"two")[5:])
    assert await read(reader) == ["two"]


@pytest.mark.parametrize(
    "data",
    [
        build(TEXT, bytes(FIRST_MESSAGE_BYTES + 1))[:8],
        build(BINARY, bytes(16 * MIB))[:10],
        build(TEXT, bytes(FIRST_MESSAGE_BYTES), fin=False) + build(0, b"x")[:2],
    ],
    ids=["its header", "the header of a long one", "fragments"],
)
async def test_a_first_message_that_is_too_long_is_refused_by_its_header(data: bytes) -> None:
    socket = Socket()
    reader = socket.open(is_own=True)
    asking = asyncio.create_task(read(reader))
    await asyncio.sleep(0)
    reader.take(data)
    sent = reader.parser.protocol.close_sent
    assert sent is not None
    assert sent.code == 1009
    assert reader.parser.held == 0
    asking.cancel()


async def test_frames_that_are_no_messages_are_few_before_a_session_begins() -> None:
    for count in (EARLY_FRAMES, EARLY_FRAMES + 1):
        socket = Socket()
        reader = socket.open(is_own=True)
        asking = asyncio.create_task(read(reader))
        for _ in range(count):
            await asyncio.sleep(0)
            reader.take(build(PING))
        assert [code for code, _ in socket.ends] == [4003] * (count > EARLY_FRAMES)
        asking.cancel()


async def test_a_little_may_come_with_the_handshake_and_more_is_refused() -> None:
    for size in (EARLY_BYTES - 8, EARLY_BYTES - 7):
        socket = Socket()
        socket.reader.take(build(TEXT, b"x" * size))
        reader = socket.open(is_own=True)
        if size == EARLY_BYTES - 8:
            assert await read(reader) == ["x" * size]
        assert [code for code, _ in socket.ends] == [1009] * (size > EARLY_BYTES - 8)


async def test_one_turn_takes_a_bounded_share_of_frames_and_the_rest_keeps_its_order() -> None:
    socket = Socket()
    reader = socket.begin()
    reader.take(build(PING, b"1") * 200 + build(TEXT, b"behind"))
    assert len(socket.answers) == FRAMES_PER_TURN
    assert not socket.transport.is_reading
    assert await read(reader) == ["behind"]
    assert len(socket.answers) == 200
    assert socket.transport.is_reading


async def test_messages_in_tiny_frames_stay_in_order_while_the_application_is_behind() -> None:
    socket = Socket()
    reader = socket.begin()
    reader.take(b"".join(build(TEXT, b"%d" % number) for number in range(1000)))
    await asyncio.sleep(0.01)
    assert not socket.transport.is_reading
    assert reader.parser.held > 0
    received = await read(reader, 1000)
    assert received == [str(number) for number in range(1000)]
    assert socket.transport.is_reading
    assert len(received) > RESUME_AT


async def test_a_message_counts_from_its_first_bytes_until_the_next_one_is_asked_for() -> None:
    socket = Socket()
    reader = socket.begin()
    frame = build(BINARY, bytes(100_000))
    reader.take(frame[:60_000])
    assert 59_000 < socket.memory.size < 61_000
    reader.take(frame[60_000:])
    assert 100_000 <= socket.memory.size < 101_000
    assert [len(each) for each in await read(reader)] == [100_000]
    assert 100_000 <= socket.memory.size < 101_000  # it is being handled
    asking = asyncio.create_task(reader.receive())
    await asyncio.sleep(0)
    assert socket.memory.size == 0
    reader.take(build(TEXT, fin=False) + build(CONTINUATION, b"x" * 500, fin=False) * 20)
    assert socket.memory.size == 10_000
    reader.lose()
    assert socket.memory.size == 0
    asking.cancel()


async def test_messages_that_wait_are_counted_with_what_each_of_them_costs() -> None:
    socket = Socket()
    reader = socket.begin()
    reader.take(build(TEXT) * 60)
    assert socket.memory.size >= 60 * 200
    await read(reader, 60)
    asking = asyncio.create_task(reader.receive())
    await asyncio.sleep(0)
    assert socket.memory.size == 0
    asking.cancel()


async def test_short_messages_that_are_handled_at_once_cost_no_accounting() -> None:
    socket = Socket()
    reader = socket.begin()
    socket.memory.change = None  # type: ignore[method-assign, assignment]  # would fail
    for number in range(10):
        asking = asyncio.create_task(read(reader))
        await asyncio.sleep(0)
        reader.take(build(TEXT, b"%d" % number) + build(TEXT, b"half")[:7])
        reader.take(build(TEXT, b"half")[7:])
        assert await asking == [str(number)]
        assert await read(reader) == ["half"]


async def test_a_socket_that_is_cut_lets_go_of_all_that_it_holds() -> None:
    memory = HeldMemory(per_owner=1_000_000, per_process=0)
    first, second = Socket(memory=memory), Socket(memory=memory)
    first.begin().take(build(BINARY, bytes(900_000))[:600_000])
    second.begin().take(build(BINARY, bytes(900_000))[:600_000])
    assert [code for code, _ in first.ends] == [4003]
    assert first.reader.parser.held == 0
    assert second.ends == []
    assert 599_000 < memory.size < 601_000


def advance(reader: SocketReader, start: float, seconds: float) -> None:
    """Let the reader look at its message every two seconds."""
    for step in range(int(seconds / 2) + 1):
        reader.check(start + 2 * step)


@pytest.mark.parametrize("kind", ["silence", "a byte now and then", "empty fragments"])
async def test_a_message_that_does_not_come_to_its_end_is_given_up(kind: str) -> None:
    socket = Socket({"MESSAGE_TIMEOUT": 30.0})
    reader = socket.begin()
    reader.take(build(BINARY, bytes(200_000), fin=kind != "empty fragments")[:150_000])
    if kind == "empty fragments":
        reader.take(bytes(200_014 - 150_000))
    for step in range(20):
        if kind == "a byte now and then":
            reader.take(b"x")
        if kind == "empty fragments":
            reader.take(build(0, fin=False))
        reader.check(100 + 2.0 * step)
        if socket.ends:
            break
    assert 30 <= 2 * step <= 32
    assert [code for code, _ in socket.ends] == [4005]


async def test_a_slow_link_gets_a_long_message_to_its_end() -> None:
    socket = Socket({"MESSAGE_TIMEOUT": 4.0, "LEAST_BYTES_PER_SECOND": 1000})
    reader = socket.begin()
    frame = build(BINARY, bytes(100_000))
    reader.take(frame[:10])
    for step in range(60):
        start = 10 + 2000 * step  # a thousand bytes a second, for a hundred seconds
        reader.take(frame[start : start + 2000])
        reader.check(100 + 2.0 * step)
    assert socket.ends == []
    assert [len(each) for each in await read(reader)] == [100_000]


async def test_each_message_has_its_own_time() -> None:
    socket = Socket({"MESSAGE_TIMEOUT": 5.0})
    reader = socket.begin()
    frame = build(TEXT, b"hello")
    reader.take(frame[:3])
    for step in range(20):
        reader.check(100 + 2.0 * step)
        reader.take(frame[3:] + frame[:3])
        assert await read(reader) == ["hello"]
    assert socket.ends == []


async def test_a_message_on_its_way_is_paid_for_as_it_comes_and_waits_for_its_turn() -> None:
    settings = {"BYTES_PER_SECOND": 1_000_000, "MAX_BINARY_BYTES": 2_000_000}
    allowances = Allowances(build_settings(settings))
    allowance = allowances.open("user 1")
    assert allowance is not None
    for size, is_reading in ((1_500_000, True), (2_500_000, False)):
        socket = Socket({"MAX_FRAME_BYTES": 4_000_000})
        reader = socket.open(is_own=True)
        reader.begin(allowance, owner="user 1")
        reader.take(build(BINARY, bytes(3_000_000))[:size])
        assert socket.transport.is_reading is is_reading
        reader.lose()  # what was given up is paid for
    assert not allowance.take(0, time.monotonic())


async def test_a_message_that_has_come_is_paid_for_by_the_session_alone() -> None:
    allowances = Allowances(build_settings({"BYTES_PER_SECOND": 10, "MAX_BINARY_BYTES": 300_000}))
    allowance = allowances.open("user 1")
    assert allowance is not None
    socket = Socket()
    reader = socket.open(is_own=True)
    reader.begin(allowance, owner="user 1")
    frame = build(BINARY, bytes(250_000))
    reader.take(frame[:100_000])
    reader.take(frame[100_000:])
    assert len((await read(reader))[0]) == 250_000
    assert allowance.take(290_000, time.monotonic())


async def test_the_last_megabytes_of_a_long_message_are_progress_too() -> None:
    socket = Socket({"MESSAGE_TIMEOUT": 4.0, "LEAST_BYTES_PER_SECOND": 100_000})
    reader = socket.begin()
    frame = build(BINARY, bytes(5 * MIB))
    reader.take(frame[: 4 * MIB])
    for step in range(20):
        start = 4 * MIB + 50_000 * step
        reader.take(frame[start : start + 50_000])
        reader.check(100 + step / 2)
    assert socket.ends == []
