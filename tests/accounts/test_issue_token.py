"""`manage.py issue_token`."""

import time
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from accounts.validation import validate_access_token


def issue_token(*arguments: str, **options: Any) -> str:
    out, err = StringIO(), StringIO()
    call_command("issue_token", *arguments, stdout=out, stderr=err, **options)
    assert err.getvalue() == ""
    return out.getvalue()


def test_it_prints_a_token_and_nothing_else(user: User) -> None:
    printed = issue_token("ada")
    assert printed == printed.strip() + "\n"
    assert validate_access_token(printed.strip()).user == user


def test_an_unknown_user_is_an_error_that_names_the_way_out(db: None) -> None:
    with pytest.raises(CommandError, match="--create"):
        issue_token("nobody")


def test_create_makes_a_user_without_a_password_and_can_be_repeated(db: None) -> None:
    for _ in range(2):
        issue_token("feed", "--create")
    feed = User.objects.get(username="feed")
    assert not feed.has_usable_password()
    assert not feed.is_staff


def test_create_leaves_an_existing_user_as_it_is(user: User) -> None:
    issue_token("ada", "--create")
    assert User.objects.get().password == user.password


def test_create_refuses_a_malformed_username(db: None) -> None:
    with pytest.raises(CommandError, match="valid username"):
        issue_token("two words", "--create")
    assert not User.objects.exists()


def test_staff_makes_staff_and_a_later_call_keeps_it(user: User) -> None:
    issue_token("ada", "--staff")
    issue_token("ada")
    assert User.objects.get().is_staff


def test_the_lifetime_is_in_seconds(user: User) -> None:
    identity = validate_access_token(issue_token("ada", "--lifetime", "100").strip())
    assert 90 < identity.expires_at - time.time() <= 100


@pytest.mark.parametrize("lifetime", ["0", "-1", "1.5", "soon", "9" * 30])
def test_a_lifetime_that_is_none_is_refused(user: User, lifetime: str) -> None:
    with pytest.raises(CommandError):
        issue_token("ada", f"--lifetime={lifetime}")


def test_an_inactive_user_gets_none(user: User) -> None:
    user.is_active = False
    user.save()
    with pytest.raises(CommandError, match="not active"):
        issue_token("ada")
