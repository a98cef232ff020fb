"""`python -m realtime_client tail|publish|request|ping|load`.

Credentials come from the environment, never from the command line, which other users can see:
REALTIME_TOKEN, or REALTIME_USERNAME and REALTIME_PASSWORD. Without any the session is anonymous.
What was asked for goes to standard output, all else to standard error.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from realtime_client.config import Config
from realtime_client.credentials import SignIn
from realtime_client.describing import describe_message, format_message
from realtime_client.errors import ClientError
from realtime_client.load import Progress, run_load
from realtime_client.messages import Ack
from realtime_client.positions import Position
from realtime_client.states import State, StateChange
from realtime_client.stream import Stream, connect
from realtime_client.tokens import Token

Command = Callable[[argparse.Namespace], Coroutine[Any, Any, None]]

FAILED = 1
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    run: Command = options.run
    try:
        asyncio.run(run(options))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has seen enough; nothing may be flushed to it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ClientError, OSError, ValueError) as error:
        _say(f"{type(error).__name__}: {error}")
        return FAILED
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="realtime_client",
        description="Read, publish and measure on a realtime.v1 server.",
        epilog="Credentials: REALTIME_TOKEN, or REALTIME_USERNAME and REALTIME_PASSWORD, "
        "from the environment. A URL is ws[s]://host/ws/<namespace>/<name>/.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(
        name: str, run: Callable[[argparse.Namespace], Coroutine[Any, Any, None]], help: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=help)
        command.add_argument("url")
        command.add_argument("--json", action="store_true", help="one JSON object per line")
        command.add_argument(
            "--max-retries", type=int, metavar="N", help="attempts in a row that may fail"
        )
        command.set_defaults(run=run)
        return command

    tail = add("tail", tail_topic, "Print what is published, until interrupted.")
    tail.add_argument("--history", type=int, metavar="N", help="begin with the latest N")
    tail.add_argument(
        "--since", type=_parse_position, metavar="EPOCH:OFFSET", help="go on after a position"
    )
    tail.add_argument("--count", type=int, metavar="N", help="end after N messages")
    tail.add_argument("--window", help="of statistics: 100, 60s, 5m")
    tail.add_argument("--fields", default="", help="of statistics: median,p95,…")
    tail.add_argument("--interval", type=float, metavar="SECONDS", help="at most one push each")

    publish = add("publish", publish_data, "Publish JSON, or each line of standard input.")
    publish.add_argument("data", nargs="*", help="JSON values; without any, lines of JSON are read")
    publish.add_argument("--array", type=Path, metavar="FILE", help="publish a .npy file")
    publish.add_argument("--file", type=Path, help="publish a file's bytes (see --format)")
    publish.add_argument("--format", help="the media type of --file")

    request = add("request", request_array, "Have the server make an array.")
    request.add_argument("shape", type=_parse_shape, help="such as 2,3")
    request.add_argument("--dtype", default="float64")
    request.add_argument("--source", default="random")
    request.add_argument("--output", type=Path, metavar="FILE", help="write it as a .npy file")

    ping = add("ping", ping_server, "Measure the round trip through a session.")
    ping.add_argument("--count", type=int, default=4)
    ping.add_argument("--interval", type=float, default=1.0, metavar="SECONDS")

    load = add("load", load_server, "Publish at a steady rate and measure the acks.")
    load.add_argument("--connections", type=int, default=1)
    load.add_argument("--rate", type=float, default=100.0, help="publications a second in all")
    load.add_argument("--seconds", type=float, default=10.0)
    return parser


# The commands


async def tail_topic(options: argparse.Namespace) -> None:
    """Print messages as they come."""
    async with _connect(
        options,
        history=options.history,
        position=options.since,
        window=options.window,
        fields=tuple(filter(None, options.fields.split(","))),
        interval=options.interval,
    ) as stream:
        count = 0
        async for message in stream:
            text = (
                json.dumps(describe_message(message)) if options.json else format_message(message)
            )
            print(text, flush=True)
            count += 1
            if count == options.count:
                return


async def publish_data(options: argparse.Namespace) -> None:
    """Publish what was given, one after the other."""
    async with _connect(options, subscribe=False) as stream:
        if options.array is not None:
            data = await asyncio.to_thread(options.array.read_bytes)
            _print_ack(await stream.publish_bytes(data), options)
        if options.file is not None:
            data = await asyncio.to_thread(options.file.read_bytes)
            _print_ack(await stream.publish_bytes(data, format=options.format), options)
        if options.data:
            for text in options.data:
                _print_ack(await stream.publish(json.loads(text)), options)
        elif options.array is None and options.file is None:
            while line := await asyncio.to_thread(sys.stdin.readline):
                if line.strip():
                    _print_ack(await stream.publish(json.loads(line)), options)


async def request_array(options: argparse.Namespace) -> None:
    """Ask for an array and print it, or write it to a file."""
    async with _connect(options, subscribe=False) as stream:
        array = await stream.request(options.shape, dtype=options.dtype, source=options.source)
    if options.output is not None:
        import numpy as np

        await asyncio.to_thread(np.save, options.output, array)
    if options.json:
        about: dict[str, Any] = {"shape": array.shape, "dtype": array.dtype.name}
        print(json.dumps(about if options.output else {**about, "data": array.tolist()}))
    elif options.output is None:
        print(array)


async def ping_server(options: argparse.Namespace) -> None:
    """Ping so many times and print each round trip."""
    async with _connect(options, subscribe=False) as stream:
        for number in range(options.count):
            if number:
                await asyncio.sleep(options.interval)
            milliseconds = await stream.ping() * 1000
            if options.json:
                print(json.dumps({"ms": round(milliseconds, 3)}), flush=True)
            else:
                print(f"{milliseconds:.2f} ms", flush=True)


async def load_server(options: argparse.Namespace) -> None:
    """Run a load, with its progress on a terminal, and print what it came to."""
    result = await run_load(
        options.url,
        token=find_token(options.url),
        connections=options.connections,
        rate=options.rate,
        seconds=options.seconds,
        config=Config(max_retries=options.max_retries),
        on_progress=_show_progress if sys.stderr.isatty() else lambda progress: None,
    )
    if sys.stderr.isatty():
        _say("")
    if options.json:
        print(json.dumps(result.describe()))
        return
    for name, value in result.describe().items():
        print(f"{name:12} {value}")


# What they share


def find_token(url: str) -> Token:
    """The credentials of the environment."""
    environment = os.environ
    if token := environment.get("REALTIME_TOKEN"):
        return token
    username, password = (environment.get(f"REALTIME_{n}") for n in ("USERNAME", "PASSWORD"))
    return SignIn(url, username, password) if username and password else None


def _connect(options: argparse.Namespace, **more: Any) -> Stream:
    return connect(
        options.url,
        token=find_token(options.url),
        on_state=_tell_state,
        config=Config(max_retries=options.max_retries),
        **more,
    )


def _tell_state(change: StateChange) -> None:
    if change.state is State.WAITING:
        code = "" if change.code is None else f"{change.code} "
        _say(f"connection lost ({code}{change.reason}); again in {change.delay:.1f} s")


def _print_ack(ack: Ack, options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps({"offset": ack.offset, "epoch": ack.epoch, "duplicate": ack.duplicate}))
    else:
        print(f"published at {ack.epoch}:{ack.offset}" if ack.epoch else "published")
    sys.stdout.flush()


def _show_progress(progress: Progress) -> None:
    share = min(progress.seconds / progress.total_seconds, 1.0)
    bar = "█" * int(share * 30)
    failed = f", {progress.failed} failed" if progress.failed else ""
    sys.stderr.write(f"\r{bar:30} {share:4.0%}  {progress.confirmed} confirmed{failed} ")
    sys.stderr.flush()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parse_position(text: str) -> Position:
    epoch, _, offset = text.rpartition(":")
    if not epoch or not offset.isdecimal():
        raise argparse.ArgumentTypeError("a position is EPOCH:OFFSET, such as 7a3c3221a676:12")
    return Position(epoch, int(offset))


def _parse_shape(text: str) -> tuple[int, ...]:
    parts = text.split(",") if text else []
    if not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError("a shape is sizes with commas between, such as 2,3")
    return tuple(map(int, parts))
