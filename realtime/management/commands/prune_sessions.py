"""`manage.py prune_sessions --days 30`: delete the rows of sessions that ended longer ago."""

from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime.conf import get_settings
from realtime.tracking import prune_sessions


class Command(BaseCommand):
    """The server does the same by itself, each hour; this is for other moments and ages."""

    help = "Delete the rows of sessions that ended long ago, and of instances without any."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days",
            type=_parse_days,
            help="how long ago they ended, 0 for all ended ones (default: SESSION_RETENTION_DAYS)",
        )

    def handle(self, *args: Any, days: float | None, **options: Any) -> None:
        if days is None:
            days = get_settings().session_retention_days
            if not days:
                raise CommandError(
                    "SESSION_RETENTION_DAYS is 0, so sessions are kept for ever: give --days"
                )
        count = prune_sessions(timedelta(days=days))
        self.stdout.write(f"{count} ended sessions deleted")


def _parse_days(text: str) -> float:
    try:
        days = float(text)
        timedelta(days=days)
    except (ValueError, OverflowError) as error:
        raise ArgumentTypeError(f"{text} is no number of days") from error
    if days < 0:
        raise ArgumentTypeError("days are 0 or more")
    return days
