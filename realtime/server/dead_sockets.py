"""Sockets that uvloop has stopped watching, although Twisted does not know that they are dead.

When a peer resets its connection, uvloop calls back once and then forgets the socket. If the
peer's last bytes had not been read by then, that one call reads them and not the error: Twisted
would never hear of the end, and a later write would raise in the face of whoever writes
(github.com/MagicStack/uvloop/issues/552).
"""

import asyncio
import socket
from typing import Any

from twisted.internet import reactor, tcp

# How often all sockets are looked at, in seconds; it takes about a microsecond for each.
INTERVAL = 2.0


def watch_dead_sockets(server: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Find such sockets from now on, where the loop is uvloop's; others need no help."""
    if not type(loop).__module__.startswith("uvloop"):
        return
    add_writer = reactor.addWriter

    def add_writer_anew(writer: Any) -> None:
        try:
            add_writer(writer)
        except RuntimeError:  # "the handler is closed"
            loop.remove_reader(writer.fileno())  # makes the loop forget it
            add_writer(writer)  # a new watch, which meets the error at once

    reactor.addWriter = add_writer_anew
    loop.call_later(INTERVAL, _cut_dead_sockets, server, loop)


def _cut_dead_sockets(server: Any, loop: asyncio.AbstractEventLoop) -> None:
    # Sockets that are read past the reactor are not among its readers.
    transports = [connection.transport for connection in server.connections]
    for transport in (*reactor.getReaders(), *transports):
        if (
            isinstance(transport, tcp.Server)
            and transport.connected
            and transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        ):
            transport.abortConnection()
    loop.call_later(INTERVAL, _cut_dead_sockets, server, loop)
