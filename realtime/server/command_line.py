"""Daphne's command line, with this project's application and server."""

import socket
import sys
from collections.abc import Sequence
from typing import Any

from daphne.cli import CommandLineInterface
from django.conf import settings
from django.utils.module_loading import import_string
from twisted.internet import reactor, tcp, unix

from realtime.server.listening import deepen_backlog, raise_file_limit
from realtime.server.options import add_options
from realtime.server.parent import Parent
from realtime.server.processes import EXTRA_SECONDS
from realtime.server.server import Server

ADOPTED = "fd:fileno="


class ServeCommandLine(CommandLineInterface):  # type: ignore[misc]
    """All of daphne's options; the application is the project's unless another is named."""

    description = "Serve this project over HTTP and WebSocket. All options of daphne apply."

    def __init__(self) -> None:
        super().__init__()
        self.parser.prog = "manage.py serve"
        # `--proc 3` would be taken here, and not where the number of processes matters.
        self.parser.allow_abbrev = False
        for action in self.parser._actions:
            if action.dest == "application":
                action.nargs = "?"
                action.required = False
                action.default = ":".join(settings.ASGI_APPLICATION.rsplit(".", 1))
        add_options(self.parser)
        # Stock daphne closes every WebSocket after a day.
        self.parser.set_defaults(websocket_timeout=-1)

    def run(self, args: list[str]) -> None:
        """Serve until a signal comes."""
        options = self.parser.parse_args(args)
        work = [import_string(path) for path in options.background]
        if options.parent_fd is not None:
            patience = options.drain_delay + options.drain_seconds + EXTRA_SECONDS
            parent = Parent(options.parent_fd, patience=patience)
            work = [parent.report_ready, *map(parent.hold, work)]

        class ConfiguredServer(AdoptingServer):
            background = tuple(work)
            drain_delay = options.drain_delay
            drain_seconds = options.drain_seconds
            ends_at_second_signal = options.parent_fd is None

        raise_file_limit()
        self.server_class: Any = ConfiguredServer
        super().run(args)


class AdoptingServer(Server):
    """Takes over sockets that listen already, of any family; daphne's way knows IPv4 only."""

    def __init__(self, *args: Any, endpoints: Sequence[str], **options: Any) -> None:
        super().__init__(*args, endpoints=endpoints, **options)
        self.endpoints = [
            deepen_backlog(endpoint) for endpoint in endpoints if not endpoint.startswith(ADOPTED)
        ]
        self._adopted = [
            _open_socket(int(endpoint.removeprefix(ADOPTED)))
            for endpoint in endpoints
            if endpoint.startswith(ADOPTED)
        ]

    def _start(self) -> None:
        for listening in self._adopted:
            self.listen_success(_adopt_socket(listening, self.http_factory))
        super()._start()


class SharedUnixPort(unix.Port):  # type: ignore[misc]
    """A UNIX socket that others listen on too, as Twisted has them for TCP.

    Its own would set the backlog and the mode of the file anew, and at the end shut the socket
    down for everyone and remove the file.
    """

    startListening = tcp.Port.startListening
    connectionLost = tcp.Port.connectionLost


def _open_socket(fd: int) -> socket.socket:
    try:
        return socket.socket(fileno=fd)
    except OSError as error:
        sys.exit(f"file descriptor {fd} is no socket to listen on: {error.strerror}")


def _adopt_socket(listening: socket.socket, factory: Any) -> Any:
    """Twisted's port for a socket that listens; the socket itself is closed."""
    with listening:
        listening.setblocking(False)
        if listening.family != socket.AF_UNIX:
            return reactor.adoptStreamPort(listening.fileno(), listening.family, factory)
        port = SharedUnixPort._fromListeningDescriptor(reactor, listening.fileno(), factory)
        port.startListening()
        return port
