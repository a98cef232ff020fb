"""`manage.py disconnect --user anna`: end live sessions, on every instance."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime.audit import find_actor
from realtime.control import end_sessions
from realtime.core.close_codes import CloseCode
from realtime.core.errors import NotRunning, Unavailable
from realtime.sessions import Target


class Command(BaseCommand):
    """The same as Disconnect in the admin; it needs the Redis of the servers."""

    help = (
        "End a live session, or all of a user or of a sign-in, on every instance (4002: the "
        "clients may come back). Who did it stands in the log and, with --by, in the admin."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        target = parser.add_mutually_exclusive_group(required=True)
        target.add_argument("--session", metavar="ID", help="the id of one session")
        target.add_argument("--user", metavar="USERNAME", help="all sessions of this user")
        target.add_argument("--sign-in", metavar="SID", help="all sessions of this sign-in")
        parser.add_argument(
            "--by", metavar="USERNAME", help="the user in whose name it is done (default: nobody)"
        )
        parser.add_argument("--reason", default="", help="why, for the log and the history")

    def handle(self, *args: Any, **options: Any) -> None:
        """Raises CommandError where there is no such user, or no server is reached."""
        user = None if options["user"] is None else _find_user(options["user"])
        by = None if options["by"] is None else _find_user(options["by"])
        target = Target(
            session=options["session"],
            user=None if user is None else str(user.pk),
            sid=options["sign_in"],
        )
        actor = find_actor(by, door="command")
        try:
            end_sessions(
                [target], code=CloseCode.DISCONNECTED, actor=actor, reason=options["reason"]
            )
        except NotRunning as error:
            raise CommandError(str(error)) from error
        except Unavailable as error:
            raise CommandError(f"other instances cannot be reached: {error.detail}") from error
        self.stdout.write(f"{target} was told to disconnect")


def _find_user(name: str) -> Any:
    model = get_user_model()
    try:
        return model._default_manager.get_by_natural_key(name)
    except model.DoesNotExist as error:
        raise CommandError(f"there is no user {name!r}") from error
