"""How often an address may call the token endpoints, and how often it may fail."""

from typing import Any

import pytest
from django.conf import settings
from prometheus_client import REGISTRY
from rest_framework.test import APIClient

from accounts.models import User

ELSEWHERE = "192.0.2.1"


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The rates, to be changed for a test."""
    changed = {**settings.TOKEN_RATES}
    monkeypatch.setattr(settings, "TOKEN_RATES", changed)
    return changed


def post(api: APIClient, path: str = "", address: str = "127.0.0.1", **body: Any) -> Any:
    return api.post(f"/api/token/{path}", body, format="json", REMOTE_ADDR=address)


def fail(api: APIClient, address: str = "127.0.0.1") -> int:
    status: int = post(api, address=address, username="ada", password="wrong").status_code
    return status


def read_count(where: str, reason: str) -> float:
    labels = {"where": where, "reason": reason}
    return REGISTRY.get_sample_value("realtime_auth_failures_total", labels) or 0.0


def test_after_some_failures_not_even_the_right_password_is_looked_at(
    api: APIClient, user: User, password: str, rates: dict[str, Any]
) -> None:
    rates["sign_in_failure"] = "2/min"
    before = read_count("token", "credentials"), read_count("token", "rate_limited")
    assert [fail(api) for _ in range(3)] == [401, 401, 429]
    response = post(api, username="ada", password=password)
    assert (response.status_code, response.json()["code"]) == (429, "rate_limited")
    assert 0 < int(response["Retry-After"]) <= 60
    assert read_count("token", "credentials") == before[0] + 2
    assert read_count("token", "rate_limited") == before[1] + 2
    assert post(api, address=ELSEWHERE, username="ada", password=password).status_code == 200


def test_successes_do_not_count_as_failures_and_do_not_take_any_back(
    api: APIClient, user: User, password: str, rates: dict[str, Any]
) -> None:
    rates["sign_in_failure"] = "2/min"
    for _ in range(5):
        assert post(api, username="ada", password=password).status_code == 200
    assert fail(api) == 401
    assert post(api, username="ada", password=password).status_code == 200
    assert [fail(api), fail(api)] == [401, 429]


@pytest.mark.parametrize(
    ("path", "scope", "where"),
    [("", "sign_in", "token"), ("verify/", "token", "token"), ("refresh/", "token", "refresh")],
)
def test_all_calls_are_bounded_too(
    api: APIClient, db: None, rates: dict[str, Any], path: str, scope: str, where: str
) -> None:
    rates[scope] = "2/min"
    body = {"username": "ada", "password": "wrong", "token": "garbage", "refresh": "garbage"}
    before = read_count(where, "rate_limited")
    statuses = [post(api, path, **body).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]
    assert read_count(where, "rate_limited") == before + 1
    assert post(api, path, ELSEWHERE, **body).status_code == 401


def test_the_addresses_of_one_ipv6_network_count_as_one(
    api: APIClient, db: None, rates: dict[str, Any]
) -> None:
    rates["sign_in_failure"] = "1/min"
    statuses = [fail(api, f"2001:db8::{suffix}") for suffix in ("1", "2")]
    assert [*statuses, fail(api, "2001:db8:0:1::1")] == [401, 429, 401]


def test_what_a_client_writes_does_not_change_its_address(
    api: APIClient, db: None, rates: dict[str, Any]
) -> None:
    rates["sign_in_failure"] = "1/min"
    body = {"username": "ada", "password": "wrong"}
    statuses = [
        api.post("/api/token/", body, format="json", HTTP_X_FORWARDED_FOR=forged).status_code
        for forged in ("198.51.100.1", "198.51.100.2")
    ]
    assert statuses == [401, 429]


def test_bad_tokens_are_counted_by_where_and_why(api: APIClient, db: None) -> None:
    before = read_count("refresh", "invalid"), read_count("rest", "invalid")
    assert post(api, "refresh/", refresh="garbage").status_code == 401
    api.credentials(HTTP_AUTHORIZATION="Bearer garbage")
    assert api.get("/api/topics/broadcast:a/publications/").status_code == 401
    after = read_count("refresh", "invalid"), read_count("rest", "invalid")
    assert after == (before[0] + 1, before[1] + 1)
