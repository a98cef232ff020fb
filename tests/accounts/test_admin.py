"""Users and sign-ins in the admin."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import SignIn, User


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
