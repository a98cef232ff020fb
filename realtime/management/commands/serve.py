"""`manage.py serve`: run the server."""

import asyncio
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from django.core import checks
from django.core.management.base import BaseCommand, CommandError
from django.utils.autoreload import get_child_arguments

from realtime.conf import get_settings
from realtime.server.listening import bind_sockets
from realtime.server.options import read_options
from realtime.server.processes import Supervisor


class Command(BaseCommand):
    help = "Serve this project over HTTP and WebSocket; takes all options of daphne."
    requires_system_checks = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Check the configuration and hand over to daphne's command line."""
        options, _ = read_options(argv[2:])
        try:
            _refuse_proxy_headers(argv)
            if options.parent_fd is None:  # the parent has checked for its children
                self.check(fail_level=checks.WARNING, tags=["realtime"])
                self.check()
            self.serve(argv[2:])
        except CommandError as error:
            self.stderr.write(str(error))
            sys.exit(error.returncode)

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve with the defaults, for `call_command("serve")`."""
        self.serve([])

    def serve(self, arguments: list[str]) -> None:
        """Serve until a signal comes."""
        options, rest = read_options(arguments)
        if options.processes > 1 and not {"-h", "--help"}.intersection(rest):
            self.supervise(options, rest)
            return
        choose_loop(options.loop)
        # Imported late: it makes an event loop and installs Twisted's reactor.
        from realtime.server.command_line import ServeCommandLine

        ServeCommandLine().run(arguments)
        sys.stdout.flush()

    def supervise(self, options: Namespace, rest: list[str]) -> None:
        """Serve by several processes until a signal comes; raises CommandError, SystemExit."""
        if not get_settings().redis_url:
            raise CommandError(
                f"--processes {options.processes} needs Redis, without which the processes do not "
                "hear each other: set REDIS_URL (redis://127.0.0.1:6379/0), or leave the option "
                "away."
            )
        if options.endpoints:
            raise CommandError(
                "--endpoint does not go with --processes above 1: name the socket by --bind and "
                "--port, --unix-socket or --fd, and leave TLS to a proxy in front."
            )
        if sys.platform == "win32":
            raise CommandError("--processes above 1 needs a UNIX-like system.")
        try:
            sockets = bind_sockets(options)
        except OSError as error:
            raise CommandError(f"cannot listen: {error}") from error
        program = get_child_arguments()
        del program[len(program) - len(sys.argv[1:]) :]
        supervisor = Supervisor(
            [*program, "serve", *rest],
            sockets,
            count=options.processes,
            background=options.background,
            drain_seconds=options.drain_delay + options.drain_seconds,
        )
        try:
            code = asyncio.run(supervisor.run())
        finally:
            if options.unix_socket:
                Path(options.unix_socket).unlink(missing_ok=True)
        if code:
            sys.exit(code)


def _refuse_proxy_headers(argv: list[str]) -> None:
    if any(argument.startswith("--proxy-headers") for argument in argv):
        raise CommandError(
            "--proxy-headers believes the first address in X-Forwarded-For, which is the client's "
            "to write: leave it away, and set TRUSTED_PROXIES to the number of your proxies."
        )


def choose_loop(name: str) -> None:
    """Make uvloop the event loop where it is wanted and installed; raises CommandError."""
    if name == "asyncio":
        return
    try:
        import uvloop
    except ModuleNotFoundError as error:
        if name == "uvloop":
            raise CommandError(
                "--loop uvloop: uvloop is not installed; install it, or use --loop auto."
            ) from error
        return
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
