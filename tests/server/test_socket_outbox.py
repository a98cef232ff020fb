"""How much of what it writes a socket outbox leaves to the kernel."""

import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import tcp

from realtime.core.framing import FRAGMENT
from realtime.outbox import frame_bytes
from realtime.server.socket_outbox import UNSENT, SocketOutbox

SIZE = 16 * 1024 * 1024  # more than any kernel takes at once
NOT_SENT = getattr(socket, "TCP_NOTSENT_LOWAT", None)
pytestmark = pytest.mark.skipif(NOT_SENT is None, reason="this kernel has no such limit")


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
