"""`manage.py serve`: run the server."""

import sys
from typing import Any

from django.core import checks
from django.core.management.base import BaseCommand, SystemCheckError


class Command(BaseCommand):
    help = "Serve this project over HTTP and WebSocket; takes all options of daphne."
    requires_system_checks = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Check the configuration and hand over to daphne's command line."""
        try:
            self.check(fail_level=checks.WARNING, tags=["realtime"])
            self.check()
        except SystemCheckError as error:
            self.stderr.write(str(error))
            sys.exit(error.returncode)
        self.serve(argv[2:])

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve with the options given to `call_command("serve", "--port", "8001")`."""
        self.serve(list(args))

    def serve(self, arguments: list[str]) -> None:
        """Serve until a signal comes."""
        # Imported late: it installs Twisted's reactor.
        from realtime.server.command_line import ServeCommandLine

        ServeCommandLine().run(arguments)
        sys.stdout.flush()
