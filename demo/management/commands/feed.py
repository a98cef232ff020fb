import asyncio
import contextlib
import signal
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError

import realtime
from demo.feed import publish_host_metrics


class Command(BaseCommand):
    help = "Publish this machine's live metrics, from a process of its own, until stopped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--interval",
            type=_interval,
            default=0.1,
            metavar="SECONDS",
            help="time between two samples, at most 1 (default: 0.1)",
        )

    def handle(self, *args: Any, interval: float, **options: Any) -> None:
        try:
            asyncio.run(self._run(interval))
        except realtime.errors.NotRunning as error:
            raise CommandError(str(error)) from error

    async def _run(self, interval: float) -> None:
        loop = asyncio.get_running_loop()
        feed = asyncio.create_task(publish_host_metrics(interval=interval))
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, feed.cancel)
        self.stdout.write("Publishing this machine's metrics. Stop with Ctrl+C.")
        with contextlib.suppress(asyncio.CancelledError):
            await feed


def _interval(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 1:
        raise ArgumentTypeError("must be over 0 and at most 1 second")
    return seconds
