"""Daphne's command line, with this project's application and server."""

from typing import Any

from daphne.cli import CommandLineInterface
from django.conf import settings
from django.utils.module_loading import import_string

from realtime.server.server import Server


class ServeCommandLine(CommandLineInterface):  # type: ignore[misc]
    """All of daphne's options; the application is the project's unless another is named."""

    description = "Serve this project over HTTP and WebSocket. All options of daphne apply."

    def __init__(self) -> None:
        super().__init__()
        self.parser.prog = "manage.py serve"
        for action in self.parser._actions:
            if action.dest == "application":
                action.nargs = "?"
                action.required = False
                action.default = ":".join(settings.ASGI_APPLICATION.rsplit(".", 1))
        self.parser.add_argument(
            "--background",
            action="append",
            default=[],
            metavar="DOTTED.PATH",
            help="A coroutine function without arguments to run beside the server (repeatable)",
        )
        # Stock daphne closes every WebSocket after a day.
        self.parser.set_defaults(websocket_timeout=-1)

    def run(self, args: list[str]) -> None:
        """Serve until a signal comes."""
        options, _ = self.parser.parse_known_args(args)

        class ConfiguredServer(Server):
            background = tuple(import_string(path) for path in options.background)

        self.server_class: Any = ConfiguredServer
        super().run(args)
