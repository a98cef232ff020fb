"""Users and sign-ins in the admin."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import SignIn, User
from realtime.audit import Actor


@pytest.fixture
def admin(db: None, client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root", password="a good password"))
    return client


@pytest.mark.parametrize("page", ["accounts_user_changelist", "accounts_signin_changelist"])
def test_lists_open_and_can_be_searched(admin: Client, sign_in: SignIn, page: str) -> None:
    response = admin.get(reverse(f"admin:{page}"), {"q": "ada"})
    assert response.status_code == 200
    assert "ada" in response.text


def test_a_sign_in_can_be_looked_at_and_nothing_else(admin: Client, sign_in: SignIn) -> None:
    url = reverse("admin:accounts_signin_change", args=[sign_in.pk])
    assert admin.get(url).status_code == 200
    assert admin.post(url, {}).status_code == 403
    assert admin.get(reverse("admin:accounts_signin_add")).status_code == 403
    delete = reverse("admin:accounts_signin_delete", args=[sign_in.pk])
    assert admin.post(delete, {"post": "yes"}).status_code == 403
    assert SignIn.objects.exists()


def deactivate(admin: Client, user: User) -> Any:
    url = reverse("admin:accounts_user_change", args=[user.pk])
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    return admin.post(url, {"username": user.username, **joined})


def change_password(admin: Client, user: User) -> Any:
    url = reverse("admin:auth_user_password_change", args=[user.pk])
    words = {"password1": "an even better one", "password2": "an even better one"}
    return admin.post(url, {"usable_password": "true", **words})


def delete(admin: Client, user: User) -> Any:
    url = reverse("admin:accounts_user_delete", args=[user.pk])
    return admin.post(url, {"post": "yes"})


def delete_chosen(admin: Client, user: User) -> Any:
    form = {"action": "delete_selected", "_selected_action": [user.pk], "post": "yes"}
    return admin.post(reverse("admin:accounts_user_changelist"), form)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (deactivate, "the user is not active"),
        (change_password, "a new password"),
        (delete, "the user was deleted"),
        (delete_chosen, "the user was deleted"),
    ],
)
def test_what_a_change_in_the_admin_ends_is_noted_as_ended_by_who_made_it(
    admin: Client,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
    act: Callable[[Client, User], Any],
    reason: str,
) -> None:
    ended: list[tuple[str, str, str, str]] = []

    def end(targets: Any, *, code: Any, actor: Actor, reason: str) -> None:
        ended.extend((str(target), actor.name, actor.door, reason) for target in targets)

    monkeypatch.setattr("realtime.control.end_sessions", end)
    pk = user.pk
    with django_capture_on_commit_callbacks(execute=True):
        assert act(admin, user).status_code == 302
    assert ended == [(f"user {pk}", "root", "admin", reason)]


def test_a_user_with_sign_ins_can_be_deleted(admin: Client, sign_in: SignIn) -> None:
    url = reverse("admin:accounts_user_delete", args=[sign_in.user_id])
    assert admin.post(url, {"post": "yes"}).status_code == 302
    assert not User.objects.filter(username="ada").exists()


def test_a_password_set_in_the_admin_ends_tokens(admin: Client, user: User) -> None:
    url = reverse("admin:auth_user_password_change", args=[user.pk])
    new: Any = {"password1": "another good password", "password2": "another good password"}
    assert admin.post(url, {**new, "usable_password": "true"}).status_code == 302
    user.refresh_from_db()
    assert user.token_version == 1
