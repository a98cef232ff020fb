"""The outbox: in order, whole, bounded; the publisher never waits."""

import asyncio
from typing import Any

import pytest

from realtime import outbox as outbox_module
from realtime.core.close_codes import CloseCode
from realtime.frames import Frames, frame_bytes, frame_text
from realtime.outbox import CLOSE_PATIENCE, Outbox
from tests.virtual_time import virtual_time as virtual_time

pytestmark = pytest.mark.usefixtures("virtual_time")


class Socket:
    """Takes an event each time it is let; open by default."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_gone = False

    async def send(self, event: Any) -> None:
        await self.gate.wait()
        if self.is_gone:
            raise ConnectionResetError
        self.events.append(event)

    @property
    def texts(self) -> list[str]:
        return [event["text"] for event in self.events if "text" in event]


class Owner:
    """What a session does with its outbox."""

    def __init__(self, *, limit: int = 100, stall_timeout: float | None = None) -> None:
        self.socket = Socket()
        self.slow = 0
        self.aborted = 0
        self.outbox = Outbox(
            self.socket.send,
            limit=limit,
            stall_timeout=stall_timeout,
            on_slow=self.note_slow,
            on_abort=self.note_abort,
        )

    def note_slow(self) -> None:
        self.slow += 1

    def note_abort(self) -> None:
        self.aborted += 1

    def block(self) -> None:
        self.socket.gate.clear()

    def release(self) -> None:
        self.socket.gate.set()


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_items_leave_in_the_order_in_which_they_came() -> None:
    owner = Owner(limit=10_000)
    for number in range(50):
        owner.outbox.put(frame_text(str(number)))
    await owner.outbox.drained()
    assert owner.socket.texts == [str(number) for number in range(50)]
    assert (owner.outbox.messages, owner.outbox.bytes) == (50, 90)


async def test_nothing_comes_between_the_events_of_an_item() -> None:
    owner = Owner(limit=10_000)
    item = Frames(["header", b"1", b"2"], 8)
    for number in range(3):
        owner.outbox.put(item)
        owner.outbox.put(frame_text(str(number)))
    await owner.outbox.drained()
    kinds = [event.get("text", event.get("bytes")) for event in owner.socket.events]
    assert kinds == [x for n in "012" for x in ("header", b"1", b"2", n)]


async def test_the_bound_counts_what_waits_behind_the_item_being_written() -> None:
    owner = Owner(limit=10)
    owner.block()
    owner.outbox.put(frame_bytes(b"w" * 1000))  # being written
    await turn()
    owner.outbox.put(frame_bytes(b"x" * 6))
    assert owner.outbox.has_room(4)
    assert not owner.outbox.has_room(5)
    owner.outbox.put(frame_bytes(b"y" * 4))
    assert owner.slow == 0
    owner.outbox.put(frame_bytes(b"z"))
    assert owner.slow == 1
    owner.release()
    await owner.outbox.drained()
    assert [event["bytes"][:1] for event in owner.socket.events] == [b"w", b"x", b"y"]


async def test_an_item_over_the_bound_is_taken_where_nothing_waits() -> None:
    owner = Owner(limit=10)
    owner.block()
    owner.outbox.put(frame_bytes(b"x" * 1000))
    await turn()
    owner.outbox.put(frame_bytes(b"y" * 1000))
    assert owner.slow == 0
    owner.outbox.put(frame_bytes(b"z"))
    assert owner.slow == 1


async def test_room_comes_back_as_items_leave() -> None:
    owner = Owner(limit=10)
    for _ in range(100):
        owner.block()
        for _ in range(2):
            owner.outbox.put(frame_bytes(b"x" * 9))
        owner.release()
        await owner.outbox.drained()
    assert (owner.slow, len(owner.socket.events)) == (0, 200)


async def test_a_socket_that_takes_nothing_while_something_waits_is_slow() -> None:
    owner = Owner(stall_timeout=0.05)
    owner.block()
    owner.outbox.put(frame_text("a"))
    await asyncio.sleep(0.08)
    assert owner.slow == 0  # nothing waits behind it
    owner.outbox.put(frame_text("b"))
    await asyncio.sleep(0.08)
    assert owner.slow == 1


async def test_a_socket_that_takes_something_now_and_then_is_not_slow() -> None:
    permits = asyncio.Semaphore(0)
    slow: list[bool] = []

    async def send(event: Any) -> None:
        await permits.acquire()

    outbox = Outbox(
        send,
        limit=1000,
        stall_timeout=0.2,
        on_slow=lambda: slow.append(True),
        on_abort=lambda: None,
    )
    for number in range(8):
        outbox.put(frame_text(str(number)))
    for _ in range(7):
        await asyncio.sleep(0.05)
        permits.release()
    assert not slow
    permits.release()
    await asyncio.wait_for(outbox.drained(), 1)
    assert outbox.messages == 8


async def test_a_socket_that_drained_is_watched_anew() -> None:
    owner = Owner(stall_timeout=0.05)
    for _ in range(2):
        owner.outbox.put(frame_text("a"))
    await owner.outbox.drained()
    await asyncio.sleep(0.08)
    owner.block()
    for _ in range(2):
        owner.outbox.put(frame_text("b"))
    await asyncio.sleep(0.02)
    assert owner.slow == 0
    await asyncio.sleep(0.08)
    assert owner.slow == 1


async def test_closing_comes_after_what_waits_and_ends_it() -> None:
    owner = Owner()
    owner.outbox.put(frame_text("a"))
    owner.outbox.put(frame_text("b"))
    owner.outbox.close(CloseCode.DISCONNECTED, "reason")
    owner.outbox.put(frame_text("late"))
    owner.outbox.close(CloseCode.RATE_LIMITED)
    await owner.outbox.drained()
    owner.outbox.put(frame_text("later"))
    await turn()
    assert owner.socket.texts == ["a", "b"]
    assert owner.socket.events[2:] == [
        {"type": "websocket.close", "code": 4002, "reason": "reason"}
    ]


@pytest.mark.parametrize(
    ("code", "sent"),
    [(1000, 1000), (1009, 3009), (1012, 3012), (1013, 3013), (4000, 4000), (4505, 4505)],
)
async def test_codes_that_daphne_does_not_let_through_are_shifted(code: int, sent: int) -> None:
    owner = Owner()
    owner.outbox.close(CloseCode(code))
    await owner.outbox.drained()
    assert owner.socket.events[0]["code"] == sent
    assert sent == 1000 or 3000 <= sent <= 4999


async def test_aborting_drops_what_waits_and_finishes_the_item_being_written() -> None:
    owner = Owner(limit=1000)
    owner.block()
    owner.outbox.put(Frames(["header", b"chunk"], 11))
    await turn()
    owner.outbox.put(frame_text("dropped"))
    owner.outbox.abort(CloseCode.SLOW_CONSUMER, "slow consumer")
    owner.release()
    await owner.outbox.drained()
    assert owner.socket.texts == ["header"]
    assert owner.socket.events[1]["bytes"] == b"chunk"
    assert owner.socket.events[2]["code"] == 4000
    assert len(owner.socket.events) == 3


async def test_a_socket_that_takes_not_even_the_close_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_module, "ABORT_DELAY", 0.02)
    stuck, willing = Owner(), Owner()
    stuck.block()
    for owner in (stuck, willing):
        owner.outbox.put(frame_text("a"))
        owner.outbox.abort(CloseCode.SLOW_CONSUMER)
    await asyncio.sleep(0.05)
    assert (stuck.aborted, willing.aborted) == (1, 0)


@pytest.mark.parametrize(("stall_timeout", "patience"), [(0.05, 0.05), (None, CLOSE_PATIENCE)])
async def test_a_socket_that_takes_nothing_of_what_comes_before_its_close_is_cut(
    stall_timeout: float | None, patience: float
) -> None:
    """Also where nothing waits behind the item being written."""
    owner = Owner(stall_timeout=stall_timeout)
    owner.block()
    owner.outbox.put(frame_text("a"))
    await asyncio.sleep(10 * patience)
    assert owner.aborted == 0
    owner.outbox.close(CloseCode.TOKEN_EXPIRED)
    await asyncio.sleep(0.9 * patience)
    assert owner.aborted == 0
    await asyncio.sleep(0.2 * patience)
    assert (owner.aborted, owner.slow) == (1, 0)


async def test_a_socket_that_takes_something_now_and_then_gets_its_close() -> None:
    owner = Owner(limit=1000, stall_timeout=0.2)
    owner.block()
    for number in range(8):
        owner.outbox.put(frame_text(str(number)))
    owner.outbox.close(CloseCode.TOKEN_EXPIRED)
    for _ in range(8):
        await asyncio.sleep(0.15)
        owner.release()
        await asyncio.sleep(0)
        owner.block()
    owner.release()
    await owner.outbox.drained()
    assert owner.socket.texts == [str(number) for number in range(8)]
    assert owner.socket.events[-1]["code"] == 4001
    await asyncio.sleep(1)
    assert (owner.aborted, owner.slow) == (0, 0)


async def test_aborting_what_closes_already_drops_what_waits_and_keeps_the_code() -> None:
    owner = Owner()
    owner.block()
    owner.outbox.put(frame_text("a"))
    await turn()
    owner.outbox.put(frame_text("dropped"))
    owner.outbox.close(CloseCode.TOKEN_EXPIRED)
    owner.outbox.abort(CloseCode.REVOKED)
    owner.release()
    await owner.outbox.drained()
    assert owner.socket.texts == ["a"]
    assert owner.socket.events[1]["code"] == 4001


async def test_aborting_again_puts_off_nothing() -> None:
    owner = Owner()
    owner.block()
    owner.outbox.put(frame_text("a"))
    for _ in range(3):
        owner.outbox.abort(CloseCode.REVOKED)
        await asyncio.sleep(outbox_module.ABORT_DELAY * 0.4)
    assert owner.aborted == 1


async def test_after_discarding_nothing_is_written_and_nobody_waits() -> None:
    owner = Owner()
    owner.block()
    owner.outbox.put(frame_text("a"))
    await turn()
    owner.outbox.put(frame_text("b"))
    waiting = asyncio.create_task(owner.outbox.drained())
    await turn()
    owner.outbox.discard()
    await asyncio.wait_for(waiting, 1)
    await asyncio.wait_for(owner.outbox.drained(), 1)
    owner.outbox.put(frame_text("c"))
    owner.outbox.close(CloseCode.NORMAL)
    owner.release()
    await turn()
    assert owner.socket.texts == ["a"]  # what was in the socket's hands already
    assert len(owner.socket.events) == 1


async def test_a_peer_that_went_away_ends_the_outbox() -> None:
    owner = Owner()
    owner.socket.is_gone = True
    owner.outbox.put(frame_text("a"))
    owner.outbox.put(frame_text("b"))
    await asyncio.wait_for(owner.outbox.drained(), 1)
    owner.outbox.put(frame_text("c"))
    await turn()
    assert owner.socket.events == []


async def test_drained_returns_when_the_last_item_was_written() -> None:
    owner = Owner()
    await asyncio.wait_for(owner.outbox.drained(), 1)
    owner.block()
    owner.outbox.put(frame_text("a"))
    waiting = [asyncio.create_task(owner.outbox.drained()) for _ in range(3)]
    await turn()
    assert not any(task.done() for task in waiting)
    owner.release()
    await asyncio.wait_for(asyncio.gather(*waiting), 1)
    assert owner.socket.texts == ["a"]


async def test_what_on_empty_puts_follows_at_once() -> None:
    owner = Owner()
    more = ["second", "third"]

    def refill() -> None:
        if more:
            owner.outbox.put(frame_text(more.pop(0)))

    owner.outbox.on_empty = refill
    owner.outbox.put(frame_text("first"))
    await owner.outbox.drained()
    assert owner.socket.texts == ["first", "second", "third"]


async def test_who_waits_for_the_outbox_to_drain_comes_before_what_on_empty_puts() -> None:
    """A busy topic whose policy is `latest` has always something new."""
    taken: list[str] = []

    async def send(event: Any) -> None:
        await asyncio.sleep(1)
        taken.append(event["text"])

    outbox = Outbox(
        send, limit=100, stall_timeout=None, on_slow=lambda: None, on_abort=lambda: None
    )
    outbox.on_empty = lambda: outbox.put(frame_text("more"))
    outbox.put(frame_text("first"))
    waiting = asyncio.create_task(outbox.drained())
    answer = asyncio.create_task(outbox.put_when_drained(frame_text("answer")))
    await asyncio.sleep(1.5)
    assert waiting.done()
    assert answer.done()
    await asyncio.sleep(2)
    assert taken == ["first", "answer", "more"]
    outbox.discard()


async def test_a_long_answer_makes_nobody_slow() -> None:
    """It is written in the moment in which nothing waits, and leaves all room to what follows."""
    taken: list[bytes] = []
    slow: list[bool] = []

    async def send(event: Any) -> None:
        await asyncio.sleep(1)
        taken.append(event["bytes"][:1])

    outbox = Outbox(
        send,
        limit=10,
        stall_timeout=None,
        on_slow=lambda: slow.append(True),
        on_abort=lambda: None,
    )

    async def publish() -> None:
        await outbox.drained()
        outbox.put(frame_bytes(b"b"))
        await turn()
        outbox.put(frame_bytes(b"c" * 9))

    outbox.put(frame_bytes(b"a"))
    publishing = asyncio.create_task(publish())
    await turn()
    long = [frame_bytes(name * 1000) for name in (b"x", b"y")]
    await asyncio.gather(publishing, *map(outbox.put_when_drained, long))
    await outbox.drained()
    assert not slow
    assert taken == [b"a", b"x", b"b", b"c", b"y"]


async def test_what_waits_for_the_outbox_to_drain_is_dropped_with_it() -> None:
    owner = Owner()
    owner.block()
    owner.outbox.put(frame_text("a"))
    await turn()
    answer = asyncio.create_task(owner.outbox.put_when_drained(frame_text("dropped")))
    await turn()
    owner.outbox.abort(CloseCode.REVOKED)
    owner.release()
    await asyncio.wait_for(answer, 1)
    await owner.outbox.drained()
    assert owner.socket.texts == ["a"]
