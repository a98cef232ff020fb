"""Signing in from a web page: accounts/browser/."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.browser.cookie import NAME
from accounts.models import SignIn, SpentToken, User
from accounts.tokens import issue_tokens, rotate_refresh_token
from accounts.validation import validate_access_token
from realtime import CloseCode, errors

FOLDER = "/api/browser/"


def post(api: APIClient, path: str, body: Any = None, **extra: Any) -> Any:
    return api.post(f"{FOLDER}{path}/", body, format="json", **extra)


def assert_signed_out(response: Any) -> None:
    """There is no token in the answer, and no longer one in the cookie."""
    assert (response.status_code, response.content) == (204, b"")
    cookie = response.cookies[NAME]
    assert (cookie.value, cookie["max-age"], cookie["path"]) == ("", 0, FOLDER)


@pytest.fixture
def signed_in(api: APIClient, user: User, password: str) -> Any:
    """The answer to a sign-in, after which `api` holds the cookie."""
    response = post(api, "sign-in", {"username": "ada", "password": password})
    assert response.status_code == 200
    return response


def test_signing_in_answers_the_access_token_and_keeps_the_refresh_token_from_scripts(
    signed_in: Any, user: User
) -> None:
    body = signed_in.json()
    assert body.keys() == {"access", "expires_in", "username"}
    assert (body["username"], body["expires_in"]) == ("ada", 600)
    assert validate_access_token(body["access"]).user == user
    assert signed_in["Cache-Control"] == "no-store"
    cookie = signed_in.cookies[NAME]
    assert (cookie["path"], cookie["samesite"]) == (FOLDER, "Strict")
    assert cookie["httponly"] is True
    assert cookie["max-age"] == 14 * 24 * 3600
    assert cookie.value not in signed_in.text


@pytest.mark.parametrize("production", [False, True])
@pytest.mark.parametrize("secure", [False, True])
def test_the_cookie_is_for_https_alone_over_https_and_in_production(
    api: APIClient, user: User, password: str, settings: Any, production: bool, secure: bool
) -> None:
    settings.SESSION_COOKIE_SECURE = production
    body = {"username": "ada", "password": password}
    cookie = post(api, "sign-in", body, secure=secure).cookies[NAME]
    assert bool(cookie["secure"]) is (production or secure)


def test_a_wrong_password_gets_no_cookie(api: APIClient, user: User) -> None:
    response = post(api, "sign-in", {"username": "ada", "password": "wrong"})
    assert (response.status_code, response.json()["code"]) == (401, "authentication_required")
    assert not response.cookies


def test_a_browser_without_a_cookie_is_told_quietly_that_it_is_not_signed_in(
    api: APIClient, db: None
) -> None:
    response = post(api, "refresh")
    assert (response.status_code, response.content) == (204, b"")


def test_a_renewal_stays_in_the_sign_in_and_two_tabs_at_once_both_succeed(
    api: APIClient, signed_in: Any, user: User
) -> None:
    held = api.cookies[NAME].value
    for _ in range(2):
        api.cookies[NAME] = held
        response = post(api, "refresh")
        assert response.status_code == 200
        assert validate_access_token(response.json()["access"]).user == user
        assert response.cookies[NAME].value not in ("", held)
        assert response["Cache-Control"] == "no-store"
    assert SignIn.objects.count() == 1


def test_a_spent_refresh_token_is_no_good_in_a_cookie_either(api: APIClient, user: User) -> None:
    spent = issue_tokens(user).refresh
    rotated = rotate_refresh_token(spent)
    api.cookies[NAME] = spent
    assert_signed_out(post(api, "refresh"))
    validate_access_token(rotated.access)


def test_a_token_that_was_taken_out_of_the_cookie_and_spent_ends_the_sign_in_later(
    api: APIClient, signed_in: Any
) -> None:
    stolen = api.cookies[NAME].value
    thief = rotate_refresh_token(stolen)
    SpentToken.objects.update(spent_at=timezone.now() - timedelta(seconds=11))
    assert_signed_out(post(api, "refresh"))
    for access in (thief.access, signed_in.json()["access"]):
        with pytest.raises(errors.InvalidToken, match="revoked"):
            validate_access_token(access)


def test_a_renewal_prolongs_the_sign_in(api: APIClient, signed_in: Any) -> None:
    SignIn.objects.update(expires_at=timezone.now())
    assert post(api, "refresh").status_code == 200
    assert SignIn.objects.get().expires_at > timezone.now() + timedelta(days=13)


def test_an_access_token_or_garbage_in_the_cookie_is_refused(
    api: APIClient, signed_in: Any
) -> None:
    for bad in (signed_in.json()["access"], "garbage"):
        api.cookies[NAME] = bad
        assert_signed_out(post(api, "refresh"))


def test_a_deactivated_user_gets_no_further_token(
    api: APIClient, signed_in: Any, user: User
) -> None:
    user.is_active = False
    user.save()
    assert_signed_out(post(api, "refresh"))


def test_signing_out_ends_the_sign_in_its_live_sessions_and_the_cookie(
    api: APIClient,
    signed_in: Any,
    disconnected: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    held = api.cookies[NAME].value
    with django_capture_on_commit_callbacks(execute=True):
        response = post(api, "sign-out")
    assert_signed_out(response)
    sid = str(SignIn.objects.get().sid)
    assert disconnected == [{"user": None, "sid": sid, "code": CloseCode.REVOKED}]
    api.cookies[NAME] = held
    assert_signed_out(post(api, "refresh"))
    with pytest.raises(errors.InvalidToken):
        validate_access_token(signed_in.json()["access"])


@pytest.mark.parametrize("held", ["", "garbage"])
def test_signing_out_with_nothing_to_end_clears_the_cookie_all_the_same(
    api: APIClient, db: None, held: str
) -> None:
    api.cookies[NAME] = held
    response = post(api, "sign-out")
    assert (response.status_code, response.cookies[NAME].value) == (204, "")


@pytest.mark.parametrize("path", ["sign-in", "refresh", "sign-out"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://sub.testserver", "http://testserver:81", "null"]
)
def test_a_page_of_another_origin_is_refused(
    api: APIClient, signed_in: Any, password: str, path: str, origin: str
) -> None:
    body = {"username": "ada", "password": password}
    response = post(api, path, body, HTTP_ORIGIN=origin)
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
    assert not response.cookies
    assert post(api, "refresh").status_code == 200


def test_the_servers_own_page_is_let_in(api: APIClient, signed_in: Any) -> None:
    assert post(api, "refresh", HTTP_ORIGIN="http://testserver").status_code == 200


@pytest.mark.parametrize(
    ("path", "scope", "status"),
    [("sign-in", "sign_in", 401), ("refresh", "token", 204), ("sign-out", "token", 204)],
)
def test_calls_are_throttled_as_those_of_the_token_endpoints_are(
    api: APIClient, db: None, settings: Any, path: str, scope: str, status: int
) -> None:
    settings.TOKEN_RATES = {scope: "2/min"}
    body = {"username": "ada", "password": "wrong"}
    statuses = []
    for _ in range(3):
        api.cookies["realtime_refresh"] = "garbage"
        statuses.append(post(api, path, body).status_code)
    assert statuses == [status, status, 429]


@pytest.mark.parametrize("path", ["refresh", "sign-out"])
def test_a_browser_without_a_cookie_tries_nothing_and_counts_for_nothing(
    api: APIClient, db: None, settings: Any, path: str
) -> None:
    settings.TOKEN_RATES = {"token": "1/min"}
    assert [post(api, path).status_code for _ in range(3)] == [204] * 3


@pytest.mark.parametrize("path", ["sign-in", "refresh", "sign-out"])
def test_the_endpoints_take_post_alone(api: APIClient, db: None, path: str) -> None:
    assert api.get(f"{FOLDER}{path}/").status_code == 405
