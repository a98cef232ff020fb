"""What saving a user does to the tokens and sessions of that user."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import make_password

from accounts.models import User
from realtime import CloseCode


def stored_version(user: User) -> int:
    return User.objects.get(pk=user.pk).token_version


def set_password(user: User) -> None:
    user.set_password("another good password")


def set_hash(user: User) -> None:
    user.password = make_password("another good password")


def set_unusable_password(user: User) -> None:
    user.set_unusable_password()


def deactivate(user: User) -> None:
    user.is_active = False


ENDINGS = [set_password, set_hash, set_unusable_password, deactivate]


@pytest.mark.parametrize("change", ENDINGS)
def test_a_new_password_or_a_deactivation_raises_the_version_and_ends_live_sessions(
    change: Any, user: User, disconnected: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    change(user)
    with django_capture_on_commit_callbacks(execute=True):
        user.save()
        assert disconnected == []  # not before the commit
    assert stored_version(user) == user.token_version == 1
    assert disconnected == [{"user": user.pk, "sid": None, "code": CloseCode.REVOKED}]


@pytest.mark.parametrize("change", [set_password, set_unusable_password])
def test_a_new_password_counts_when_only_the_password_is_saved(change: Any, user: User) -> None:
    change(user)
    user.save(update_fields=["password"])
    assert stored_version(user) == 1


def test_a_deactivation_counts_when_only_that_field_is_saved(user: User) -> None:
    user.is_active = False
    user.save(update_fields=["is_active"])
    assert stored_version(user) == 1


def test_a_deactivation_that_is_not_saved_does_not_count(user: User) -> None:
    user.is_active = False
    user.save(update_fields=["email"])
    user.save(update_fields=["password"])
    assert stored_version(user) == 0


def test_reactivation_does_not_bring_tokens_back(user: User) -> None:
    user.is_active = False
    user.save()
    user.is_active = True
    user.save()
    assert stored_version(user) == 1


def test_a_hash_upgrade_at_sign_in_ends_nothing(
    user: User,
    password: str,
    settings: Any,
    disconnected: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.Argon2PasswordHasher",
        "django.contrib.auth.hashers.MD5PasswordHasher",
    ]
    with django_capture_on_commit_callbacks(execute=True):
        assert authenticate(username="ada", password=password) == user
    upgraded = User.objects.get(pk=user.pk)
    assert upgraded.password.startswith("argon2")
    assert upgraded.token_version == 0
    assert disconnected == []


def test_other_changes_end_nothing(
    user: User, disconnected: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    user.email = "ada@example.org"
    with django_capture_on_commit_callbacks(execute=True):
        user.save()
    assert stored_version(user) == 0
    assert disconnected == []


def test_an_instance_loaded_earlier_does_not_lower_the_version(user: User) -> None:
    early = User.objects.get(pk=user.pk)
    user.is_active = False
    user.save()
    early.email = "ada@example.org"
    early.save()
    assert stored_version(user) == 1


def test_a_save_that_touches_neither_field_costs_one_query(
    user: User, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        user.save(update_fields=["last_login"])


def test_the_asynchronous_save_counts_too(user: User) -> None:
    user.is_active = False
    async_to_sync(user.asave)(update_fields=["is_active"])
    assert stored_version(user) == 1


def test_a_failed_announcement_does_not_fail_the_change(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ConnectionError("no Redis")

    monkeypatch.setattr("realtime.control.find_runtime", fail)
    user = User.objects.create_user("grace", password="a good password")
    user.is_active = False
    user.save()
    assert stored_version(user) == 1
    assert "no Redis" in caplog.text
