"""What a socket outbox leaves to the kernel, and how it ends where that takes no more."""

import asyncio
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import tcp

from realtime.core.close_codes import CloseCode
from realtime.core.framing import FRAGMENT
from realtime.frames import frame_bytes
from realtime.outbox import ABORT_DELAY, CLOSE_PATIENCE
from realtime.server.socket_outbox import UNSENT, SocketOutbox
from tests.virtual_time import virtual_time as virtual_time

SIZE = 16 * 1024 * 1024  # more than any kernel takes at once
NOT_SENT = getattr(socket, "TCP_NOTSENT_LOWAT", None)


class Transport(tcp.Connection):  # type: ignore[misc]
    """Twisted's transport as far as the outbox uses it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        producer.resumeProducing()

    def unregisterProducer(self) -> None:
        pass

    def startWriting(self) -> None:
        pass


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection that do not block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        yield near, far


@pytest.mark.skipif(NOT_SENT is None, reason="this kernel has no such limit")
async def test_the_kernel_holds_little_that_is_not_sent_and_all_of_a_long_payload_arrives(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    outbox = SocketOutbox(Transport(near), lambda code, reason: None)
    assert NOT_SENT is not None
    assert near.getsockopt(socket.IPPROTO_TCP, NOT_SENT) == UNSENT
    total = SIZE + 10 * (SIZE // FRAGMENT)  # with the heads of its fragments
    outbox.put(frame_bytes(bytes(SIZE)))
    assert outbox.is_writing
    got = 0
    while got < total:
        waiting = [near] if outbox.is_writing else []
        readable, writable, _ = select.select([far], waiting, [], 30)
        assert readable or writable
        if readable:
            got += len(far.recv(1 << 20))
        if writable:
            outbox.resumeProducing()
    assert (outbox.is_writing, got) == (False, total)


class Socket:
    """A kernel that takes so many bytes and no more."""

    family = socket.AF_UNIX

    def __init__(self) -> None:
        self.room = 0
        self.taken = bytearray()

    def send(self, data: bytes, flags: int = 0) -> int:
        if not self.room:
            raise BlockingIOError
        size = min(self.room, len(data))
        self.room -= size
        self.taken += data[:size]
        return size


class Stage:
    """An outbox, the kernel it writes to, and what became of the two."""

    def __init__(self, *, limit: int = 10_000, stall_timeout: float | None = None) -> None:
        self.socket = Socket()
        self.slow = self.cuts = 0
        self.closes: list[tuple[int, float]] = []  # the code, and when
        self.now = asyncio.get_running_loop().time
        transport = Transport(self.socket)  # type: ignore[arg-type]
        transport.abortConnection = self.cut
        self.outbox = SocketOutbox(transport, self.note_close).configure(
            limit=limit,
            stall_timeout=stall_timeout,
            on_slow=self.note_slow,
            on_abort=lambda: None,
        )

    def cut(self) -> None:
        self.cuts += 1
        self.outbox.lose()

    def note_slow(self) -> None:
        self.slow += 1

    def note_close(self, code: int, reason: str) -> None:
        self.closes.append((code, self.now()))

    def take(self, size: int) -> None:
        """The kernel takes some more."""
        self.socket.room += size
        self.outbox.resumeProducing()


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize(("stall_timeout", "patience"), [(2.0, 2.0), (None, CLOSE_PATIENCE)])
async def test_a_socket_that_takes_nothing_of_what_comes_before_its_close_is_cut(
    stall_timeout: float | None, patience: float
) -> None:
    """Whatever else happens: only bytes that the kernel takes are progress."""
    stage = Stage(stall_timeout=stall_timeout)
    stage.outbox.put(frame_bytes(b"x" * 100))
    await asyncio.sleep(10 * patience)
    assert stage.cuts == stage.slow == 0
    stage.outbox.close(CloseCode.TOKEN_EXPIRED)
    for _ in range(9):
        await asyncio.sleep(patience / 10)
        stage.outbox.put_urgent(b"pong")
        stage.take(0)
    assert stage.cuts == 0
    await asyncio.sleep(patience / 5)
    assert (stage.cuts, stage.slow, stage.closes) == (1, 0, [])


@pytest.mark.usefixtures("virtual_time")
async def test_a_socket_that_takes_a_byte_now_and_then_gets_its_close() -> None:
    stage = Stage(stall_timeout=2)
    for _ in range(2):
        stage.outbox.put(frame_bytes(b"x" * 10))
    stage.outbox.close(CloseCode.TOKEN_EXPIRED)
    for _ in range(24):
        assert stage.closes == []
        await asyncio.sleep(1.5)
        stage.take(1)
    assert len(stage.socket.taken) == 24
    assert stage.closes == [(4001, 24 * 1.5)]
    await asyncio.sleep(60)
    assert stage.cuts == stage.slow == 0


@pytest.mark.usefixtures("virtual_time")
async def test_aborting_what_closes_already_drops_what_waits_and_is_not_put_off() -> None:
    stage = Stage()
    for _ in range(2):
        stage.outbox.put(frame_bytes(b"x" * 10))
    stage.outbox.close(CloseCode.TOKEN_EXPIRED)
    for _ in range(3):
        stage.outbox.abort(CloseCode.REVOKED)
        await asyncio.sleep(ABORT_DELAY * 0.3)
        stage.take(3)
    await asyncio.sleep(ABORT_DELAY * 0.2)
    assert (stage.cuts, stage.closes, len(stage.socket.taken)) == (1, [], 9)


@pytest.mark.usefixtures("virtual_time")
async def test_a_long_answer_makes_nobody_slow() -> None:
    """It is written in the moment in which nothing waits, and leaves all room to what follows."""
    stage = Stage(limit=10)
    outbox = stage.outbox

    async def publish() -> None:
        await outbox.drained()
        outbox.put(frame_bytes(b"b"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        outbox.put(frame_bytes(b"c" * 9))

    outbox.put(frame_bytes(b"a"))
    publishing = asyncio.create_task(publish())
    await asyncio.sleep(0)
    answers = [
        asyncio.create_task(outbox.put_when_drained(frame_bytes(name * 1000)))
        for name in (b"x", b"y")
    ]
    await asyncio.sleep(0)
    outbox.on_empty = lambda: outbox.put(frame_bytes(b"more"))
    stage.take(3)
    await publishing
    assert stage.slow == 0
    stage.take(10_000)
    outbox.on_empty = None
    await asyncio.gather(*answers)
    order = [bytes(stage.socket.taken).index(name) for name in (b"a", b"x", b"b", b"c", b"y")]
    assert order == sorted(order)
    assert (stage.slow, outbox.is_writing) == (0, False)


@pytest.mark.usefixtures("virtual_time")
async def test_what_waits_for_the_outbox_to_drain_is_dropped_with_it() -> None:
    for end in (lambda o: o.abort(CloseCode.REVOKED), SocketOutbox.lose):
        stage = Stage()
        stage.outbox.put(frame_bytes(b"a"))
        answer = asyncio.create_task(stage.outbox.put_when_drained(frame_bytes(b"dropped")))
        await asyncio.sleep(0)
        end(stage.outbox)
        stage.take(1000)
        await asyncio.wait_for(answer, 1)
        assert b"dropped" not in stage.socket.taken
