"""Guessing at the admin's sign-in page."""

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessLog
from django.contrib.auth import authenticate
from django.core import checks
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tests.accounts.test_throttles import ELSEWHERE, read_count

WRONG = "a wrong guess of mine"
TOKEN = "header.payload.signature"


@pytest.fixture
def root(db: None, password: str, settings: Any) -> User:
    """A superuser; two failures lock out."""
    settings.AXES_FAILURE_LIMIT = 2
    return User.objects.create_superuser("root", password=password)


def sign_in(client: Client, password: str, address: str = "127.0.0.1") -> Any:
    form = {"username": "root", "password": password, "next": "/admin/"}
    return client.post(reverse("admin:login"), form, REMOTE_ADDR=address)


def obtain(api: APIClient, password: str, address: str = "127.0.0.1") -> Any:
    body = {"username": "root", "password": password}
    return api.post("/api/token/", body, format="json", REMOTE_ADDR=address)


def test_too_many_failures_lock_an_address_out_and_no_other(
    client: Client, root: User, password: str
) -> None:
    before = read_count("admin", "credentials"), read_count("admin", "locked_out")
    assert sign_in(client, WRONG).status_code == 200  # the form again
    for guess in (WRONG, password):
        response = sign_in(client, guess)
        assert response.status_code == 429
        assert 800 < int(response["Retry-After"]) <= 900
        assert "15 min" in response.text
    assert read_count("admin", "credentials") == before[0] + 2
    assert read_count("admin", "locked_out") == before[1] + 1
    assert sign_in(Client(), password, ELSEWHERE).status_code == 302


def test_a_lockout_ends_in_time_and_knocking_does_not_prolong_it(
    client: Client, root: User, password: str
) -> None:
    for _ in range(4):
        sign_in(client, WRONG)
    assert AccessAttempt.objects.get().failures_since_start == 2
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(seconds=901))
    assert sign_in(client, password).status_code == 302


def test_who_is_locked_out_of_the_admin_gets_the_protocols_error_for_a_token(
    client: Client, api: APIClient, root: User, password: str
) -> None:
    for _ in range(2):
        sign_in(client, WRONG)
    response = obtain(api, password)
    assert (response.status_code, response.json()["code"]) == (429, "rate_limited")
    assert 800 < int(response["Retry-After"]) <= 900
    assert obtain(api, password, ELSEWHERE).status_code == 200


def test_failures_for_a_token_lock_nobody_out_of_the_admin(
    client: Client, api: APIClient, root: User, password: str
) -> None:
    assert [obtain(api, WRONG).status_code for _ in range(4)] == [401] * 4
    assert not AccessAttempt.objects.exists()
    assert sign_in(client, password).status_code == 302


def test_no_secret_is_written(
    client: Client, root: User, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    client.cookies["csrftoken"] = "c" * 32
    form = {"username": "root", "password": WRONG, "csrfmiddlewaretoken": "c" * 32}
    # Who has a token in an address of this server by mistake is not to find it in the admin.
    client.post(reverse("admin:login") + f"?token={TOKEN}&jwt={TOKEN}", form)
    sign_in(client, password, ELSEWHERE)
    written = f"{list(AccessAttempt.objects.values())} {caplog.text}"
    for secret in (WRONG, password, "c" * 32, TOKEN):
        assert secret not in written
    assert not AccessLog.objects.exists()


def test_code_without_a_request_can_check_a_password(root: User, password: str) -> None:
    assert authenticate(username="root", password=password) == root
    assert authenticate(username="root", password=WRONG) is None


def test_axes_finds_its_configuration_complete() -> None:
    assert [m for m in checks.run_checks() if (m.id or "").startswith("axes.")] == []


def test_who_fails_locks_out_nobody_who_has_another_name(
    client: Client, api: APIClient, root: User, user: User, password: str
) -> None:
    for _ in range(4):
        sign_in(client, WRONG)
    body = {"username": user.username, "password": password}
    assert api.post("/api/token/", body, format="json").status_code == 200
    User.objects.create_superuser("rosa", password=password)
    form = {"username": "rosa", "password": password, "next": "/admin/"}
    assert Client().post(reverse("admin:login"), form).status_code == 302


def test_an_address_cannot_go_through_many_names_at_the_admin(
    client: Client, root: User, password: str, settings: Any
) -> None:
    settings.TOKEN_RATES = {"sign_in": "3/min"}
    before = read_count("admin", "rate_limited")
    for number in range(3):
        form = {"username": f"root{number}", "password": WRONG}
        client.post(reverse("admin:login"), form)
    response = sign_in(client, password)
    assert "Too many sign-ins from your address" in response.text
    assert read_count("admin", "rate_limited") == before + 1
    assert sign_in(Client(), password, ELSEWHERE).status_code == 302


@pytest.mark.parametrize("headers", [{}, {"HTTP_ORIGIN": "https://evil.example"}])
def test_a_form_on_another_page_locks_nobody_out_of_the_admin(
    root: User, password: str, headers: dict[str, str], settings: Any
) -> None:
    settings.TOKEN_RATES = {"sign_in": "1/min"}
    victim = Client(enforce_csrf_checks=True)
    victim.get(reverse("admin:login"))  # has the cookie, which other pages cannot read
    for _ in range(5):
        form = {"username": "root", "password": WRONG}
        assert victim.post(reverse("admin:login"), form, **headers).status_code == 403
    assert not AccessAttempt.objects.exists()
    assert sign_in(Client(), password).status_code == 302
