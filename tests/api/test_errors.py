"""Errors of the REST API are always `{"code", "detail"}`; the token endpoints over real HTTP."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from django.http import Http404
from rest_framework.exceptions import Throttled

from realtime.api.errors import STATUS, handle_exception
from realtime.core.errors import CodedError, ErrorCode
from tests.clients import open_client
from tests.servers import Project, Server, start_server

PASSWORD = "correct horse battery staple"
PATIENCE = 30.0  # seconds, with what is only slow
CREDENTIALS = {"username": "bea", "password": PASSWORD}
MAKE_USER = (
    "from django.contrib.auth import get_user_model;"
    f"get_user_model().objects.create_user('bea', password='{PASSWORD}')"
)


@pytest.fixture(scope="module")
def account_server(make_project: Callable[..., Project]) -> Iterator[Server]:
    """A daphne with a user who has a password; four sign-ins a minute are allowed."""
    project = make_project(SIGN_IN_RATE="4/min", TOKEN_RATE="1000/min")
    project.manage("shell", "-v", "0", "-c", MAKE_USER)
    server = start_server(project)
    yield server
    server.stop()


def post(server: Server, path: str, body: Any = None, **options: Any) -> httpx.Response:
    url = f"{server.http}/api/token/{path}"
    return httpx.post(url, json=body, timeout=PATIENCE, **options)


def assert_error(response: httpx.Response, status: int, code: str) -> str:
    assert response.headers["Content-Type"] == "application/json"
    body = response.json()
    assert (response.status_code, body.get("code")) == (status, code), response.text
    assert body.keys() == {"code", "detail"}
    return body["detail"]


# Translation


@pytest.mark.parametrize("type", CodedError.__subclasses__())
def test_every_coded_error_has_a_status_and_keeps_its_words(type: type[CodedError]) -> None:
    response = handle_exception(type("say why"), {})
    assert response is not None
    assert response.data == {"code": type.code, "detail": "say why"}
    assert 400 <= response.status_code < 600
    # 429 and 503 say when it is worth another try.
    assert response.has_header("Retry-After") == (response.status_code in (429, 503))


def test_every_code_has_a_status() -> None:
    assert STATUS.keys() == set(ErrorCode)


def test_errors_of_the_frameworks_are_translated_and_keep_their_headers() -> None:
    response = handle_exception(Http404("no such thing"), {})
    assert response is not None
    assert (response.status_code, response.data["code"]) == (404, "not_found")
    response = handle_exception(Throttled(wait=12.3), {})
    assert response is not None
    assert (response.status_code, response.data["code"]) == (429, "rate_limited")
    assert response["Retry-After"] == "13"


def test_a_bug_is_left_to_django() -> None:
    assert handle_exception(ZeroDivisionError("a bug"), {}) is None


# The token endpoints


def test_bad_bodies_are_400_and_name_the_field(account_server: Server) -> None:
    for path, body, field in (
        ("refresh/", {}, "refresh"),
        ("verify/", {"token": ""}, "token"),
        ("revoke/", {"refresh": None}, "refresh"),
        ("verify/", {"token": ["a"]}, "token"),
    ):
        response = post(account_server, path, body)
        assert field in assert_error(response, 400, "invalid_message")
    for content in (b"{", b"[]", b'{"token": NaN}', b'{"token": "a", "token": "b"}'):
        response = httpx.post(
            f"{account_server.http}/api/token/verify/",
            content=content,
            headers={"Content-Type": "application/json"},
            timeout=PATIENCE,
        )
        assert_error(response, 400, "invalid_json")
    url = f"{account_server.http}/api/token/verify/"
    response = httpx.post(url, data={"token": "form"}, timeout=PATIENCE)
    assert_error(response, 415, "not_supported")
    response = httpx.get(url, timeout=PATIENCE)
    assert_error(response, 405, "not_supported")
    assert "POST" in response.headers["Allow"]


async def test_a_token_is_obtained_rotated_verified_and_revoked_and_sign_ins_are_throttled(
    account_server: Server,
) -> None:
    server = account_server
    response = post(server, "", {**CREDENTIALS, "password": "wrong"})
    assert_error(response, 401, "authentication_required")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    unknown = post(server, "", {**CREDENTIALS, "username": "nobody"})
    assert (unknown.status_code, unknown.json()) == (401, response.json())

    response = post(server, "", CREDENTIALS)
    assert (response.status_code, response.json().keys()) == (200, {"access", "refresh"})
    first = response.json()
    assert post(server, "verify/", {"token": first["access"]}).json() == {}
    assert_error(post(server, "verify/", {"token": first["refresh"]}), 401, "invalid_token")
    assert_error(post(server, "verify/", {"token": "junk"}), 401, "invalid_token")

    second = post(server, "refresh/", {"refresh": first["refresh"]}).json()
    assert second["refresh"] != first["refresh"]
    assert post(server, "verify/", {"token": second["access"]}).status_code == 200
    # A refresh token is good for one rotation.
    assert_error(post(server, "refresh/", {"refresh": first["refresh"]}), 401, "invalid_token")

    third = post(server, "", CREDENTIALS).json()
    async with open_client(f"{server.ws}/ws/broadcast/lobby/", third["access"]) as client:
        await client.receive_type("subscribed")
        response = post(server, "revoke/", {"refresh": third["refresh"]})
        assert (response.status_code, response.content) == (204, b"")
        assert (await client.wait_closed())[0] == 4505
    assert_error(post(server, "verify/", {"token": third["access"]}), 401, "invalid_token")
    assert_error(post(server, "refresh/", {"refresh": third["refresh"]}), 401, "invalid_token")
    response = httpx.post(
        f"{server.http}/api/topics/broadcast:lobby/publications/",
        json={"data": 1},
        headers={"Authorization": f"Bearer {third['access']}"},
        timeout=PATIENCE,
    )
    assert_error(response, 401, "invalid_token")

    response = post(server, "", CREDENTIALS)
    assert_error(response, 429, "rate_limited")
    assert 0 < int(response.headers["Retry-After"]) <= 60
