"""The token endpoints over HTTP."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import SignIn, SpentToken, User
from accounts.tokens import TokenPair, issue_tokens
from accounts.validation import validate_access_token
from realtime import CloseCode


@pytest.fixture
def pair(user: User) -> TokenPair:
    return issue_tokens(user)


def post(api: APIClient, path: str, **body: Any) -> Any:
    return api.post(f"/api/token/{path}", body, format="json")


def assert_refused(response: Any, code: str = "invalid_token") -> None:
    assert response.status_code == 401
    assert response.json()["code"] == code
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'


def test_a_username_and_password_get_a_pair(api: APIClient, user: User, password: str) -> None:
    response = post(api, "", username="ada", password=password, extra="ignored")
    assert response.status_code == 200
    assert response.json().keys() == {"access", "refresh"}
    assert validate_access_token(response.json()["access"]).user == user


def test_spaces_around_a_password_are_part_of_it(api: APIClient, user: User, password: str) -> None:
    user.set_password(f" {password} ")
    user.save()
    assert post(api, "", username="ada", password=f" {password} ").status_code == 200
    assert_refused(post(api, "", username="ada", password=password), "authentication_required")


@pytest.mark.parametrize(("username", "suffix"), [("ada", "wrong"), ("nobody", ""), ("ADA", "")])
def test_wrong_credentials_get_one_answer(
    api: APIClient, user: User, password: str, username: str, suffix: str
) -> None:
    response = post(api, "", username=username, password=password + suffix)
    assert_refused(response, "authentication_required")
    assert response.json()["detail"] == "The username or the password is wrong."
    assert not SignIn.objects.exists()


def test_an_inactive_user_cannot_sign_in(api: APIClient, user: User, password: str) -> None:
    user.is_active = False
    user.save()
    response = post(api, "", username="ada", password=password)
    assert_refused(response, "authentication_required")


@pytest.mark.parametrize("body", [{}, {"username": "ada"}, {"username": [], "password": "x"}])
def test_a_body_that_lacks_something_is_a_bad_request(api: APIClient, body: Any, db: None) -> None:
    assert post(api, "", **body).status_code == 400


def test_a_form_is_told_that_json_is_wanted(api: APIClient, db: None) -> None:
    body = {"username": "ada", "password": "x"}
    response = api.post("/api/token/", body, format="multipart")
    assert (response.status_code, response.json()["code"]) == (415, "not_supported")


def test_refresh_rotates_and_the_old_token_is_over(api: APIClient, pair: TokenPair) -> None:
    response = post(api, "refresh/", refresh=pair.refresh)
    assert response.status_code == 200
    assert response.json().keys() == {"access", "refresh"}
    assert_refused(post(api, "refresh/", refresh=pair.refresh))
    assert post(api, "refresh/", refresh=response.json()["refresh"]).status_code == 200


def test_refresh_refuses_a_user_who_is_gone_or_inactive_or_signed_out(
    api: APIClient, user: User
) -> None:
    def refresh(pair: TokenPair) -> Any:
        return post(api, "refresh/", refresh=pair.refresh)

    signed_out = issue_tokens(user)
    assert post(api, "revoke/", refresh=signed_out.refresh).status_code == 204
    assert_refused(refresh(signed_out))
    deactivated = issue_tokens(user)
    user.is_active = False
    user.save()
    assert_refused(refresh(deactivated))
    user.is_active = True
    user.save()
    assert_refused(refresh(deactivated))
    deleted = issue_tokens(user)
    user.delete()
    assert_refused(refresh(deleted))


def test_refresh_refuses_garbage_an_access_token_and_an_expired_one(
    api: APIClient, pair: TokenPair, forge: Any
) -> None:
    assert_refused(post(api, "refresh/", refresh="garbage"))
    assert_refused(post(api, "refresh/", refresh=pair.access))
    expired = forge(token_type="refresh", exp=int(time.time()) - 1)
    assert_refused(post(api, "refresh/", refresh=expired))


def test_verify_says_what_the_server_would_say(api: APIClient, pair: TokenPair) -> None:
    response = post(api, "verify/", token=pair.access)
    assert (response.status_code, response.json()) == (200, {})
    assert_refused(post(api, "verify/", token=pair.refresh))
    post(api, "revoke/", refresh=pair.refresh)
    assert_refused(post(api, "verify/", token=pair.access))


def test_revoke_ends_live_sessions_and_can_be_repeated(
    api: APIClient,
    pair: TokenPair,
    disconnected: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    for _ in range(2):
        with django_capture_on_commit_callbacks(execute=True):
            response = post(api, "revoke/", refresh=pair.refresh)
        assert (response.status_code, response.content) == (204, b"")
    sid = str(SignIn.objects.get().sid)
    assert disconnected == [{"user": None, "sid": sid, "code": CloseCode.REVOKED}] * 2


def test_revoke_refuses_what_is_no_refresh_token(api: APIClient, pair: TokenPair) -> None:
    assert_refused(post(api, "revoke/", refresh="garbage"))
    assert_refused(post(api, "revoke/", refresh=pair.access))
    validate_access_token(pair.access)


def test_a_bad_authorization_header_does_not_matter_where_the_body_is_the_credential(
    api: APIClient, pair: TokenPair
) -> None:
    api.credentials(HTTP_AUTHORIZATION="Bearer expired")
    assert post(api, "refresh/", refresh=pair.refresh).status_code == 200


def test_a_late_reuse_is_answered_401_and_the_end_of_the_sign_in_is_kept(
    transactional_db: None, api: APIClient, password: str, disconnected: list[Any]
) -> None:
    pair = issue_tokens(User.objects.create_user("ada", password=password))
    rotated = post(api, "refresh/", refresh=pair.refresh).json()
    SpentToken.objects.update(spent_at=timezone.now() - timedelta(seconds=11))
    assert_refused(post(api, "refresh/", refresh=pair.refresh))
    sign_in = SignIn.objects.get()
    assert sign_in.revoked_at is not None
    assert disconnected == [{"user": None, "sid": str(sign_in.sid), "code": CloseCode.REVOKED}]
    assert_refused(post(api, "refresh/", refresh=rotated["refresh"]))


@pytest.mark.parametrize("path", ["", "refresh/", "verify/", "revoke/"])
def test_the_endpoints_take_post_alone(api: APIClient, db: None, path: str) -> None:
    assert api.get(f"/api/token/{path}").status_code == 405
