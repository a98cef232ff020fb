"""The options of `manage.py serve` beyond daphne's own.

Read without daphne too: its import makes an event loop, and a parent of processes needs none.
"""

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence


def add_options(parser: ArgumentParser) -> None:
    """Add our options to a parser that has daphne's."""
    _add_processes(parser)
    _add_serving(parser)


def read_options(arguments: Sequence[str]) -> tuple[Namespace, list[str]]:
    """Our options and where to listen; and the arguments with which each process is started.

    Those lack what is the parent's: how many processes, where to listen, background work.
    """
    parser = _build_parser()
    _add_processes(parser)
    parser.add_argument("-p", "--port", type=int)
    parser.add_argument("-b", "--bind", dest="host")
    parser.add_argument("-u", "--unix-socket")
    parser.add_argument("--fd", type=int, dest="file_descriptor")
    parser.add_argument("-e", "--endpoint", action="append", default=[], dest="endpoints")
    options, rest = parser.parse_known_args(arguments)
    parser = _build_parser()
    _add_serving(parser)
    return parser.parse_known_args(rest, options)[0], rest


def _build_parser() -> ArgumentParser:
    return ArgumentParser(
        prog="manage.py serve",
        usage="manage.py serve [options] (--help lists them)",
        add_help=False,
        allow_abbrev=False,
    )


def _add_processes(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--processes",
        type=_read_count,
        default=1,
        metavar="N",
        help="How many processes share the socket; more than one need Redis (default 1)",
    )
    parser.add_argument(
        "--background",
        action="append",
        default=[],
        metavar="DOTTED.PATH",
        help="A coroutine function without arguments to run beside the server (repeatable); "
        "of several processes, one runs it",
    )


def _add_serving(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--loop",
        choices=("auto", "uvloop", "asyncio"),
        default="auto",
        help="The event loop; auto takes uvloop where it is installed (default auto)",
    )
    parser.add_argument(
        "--drain-delay",
        type=_read_seconds,
        default=0.0,
        metavar="SECONDS",
        help="How long /readyz says 503 before the server stops taking connections (default 0)",
    )
    parser.add_argument(
        "--drain-seconds",
        type=_read_seconds,
        default=20.0,
        metavar="SECONDS",
        help="How long sessions and requests get to end after a SIGTERM (default 20)",
    )
    # How a process finds the parent that started it: for the parent to set.
    parser.add_argument("--parent-fd", type=int, help=SUPPRESS)


def _read_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _read_seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds
