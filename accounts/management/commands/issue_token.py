"""`manage.py issue_token USERNAME`: an access token for scripts, services and trying things."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import User
from accounts.tokens import issue_access_token

MAX_LIFETIME = timedelta(days=3650)


class Command(BaseCommand):
    """Prints the token, and nothing else, on standard output."""

    help = "Print an access token for a user, and nothing else, on standard output."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("username")
        parser.add_argument(
            "--create",
            action="store_true",
            help="create the user, without a password, where it does not exist",
        )
        parser.add_argument("--staff", action="store_true", help="make the user staff")
        parser.add_argument(
            "--lifetime", type=int, metavar="SECONDS", help="instead of the usual lifetime"
        )

    def handle(
        self, *args: Any, username: str, create: bool, staff: bool, lifetime: int | None, **_: Any
    ) -> None:
        """Raises CommandError where there is no such active user, or a bad lifetime."""
        if lifetime is not None and not 0 < lifetime <= MAX_LIFETIME.total_seconds():
            raise CommandError("--lifetime takes whole seconds, from 1 to ten years.")
        user = create_user(username) if create else find_user(username)
        if not user.is_active:
            raise CommandError(f"The user {username} is not active: no token of theirs would do.")
        if staff and not user.is_staff:
            user.is_staff = True
            user.save(update_fields=["is_staff"])
        self.stdout.write(
            issue_access_token(
                user=user, lifetime=None if lifetime is None else timedelta(seconds=lifetime)
            )
        )


def find_user(username: str) -> User:
    """The user of that name. Raises CommandError where there is none."""
    try:
        return User.objects.get(username=username)
    except User.DoesNotExist as error:
        raise CommandError(f"There is no user {username}: add --create to make one.") from error


def create_user(username: str) -> User:
    """The user of that name, made without a usable password where there was none."""
    try:
        User(username=username).clean_fields(exclude=["password"])
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from error
    user, _ = User.objects.get_or_create(
        username=User.normalize_username(username), defaults={"password": make_password(None)}
    )
    return user
