"""Passwords are looked at a few at a time."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.test import APIClient

from accounts import turns, views
from accounts.models import User
from realtime import errors

CALLS = 20


class Checker:
    """In the place of `authenticate`: nobody's password is right, and finding out takes a while."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = self.calls = 0

    def __call__(self, *_: Any, **__: Any) -> None:
        with self.lock:
            self.calls += 1
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.01)
        with self.lock:
            self.now -= 1


@pytest.fixture
def checker(monkeypatch: pytest.MonkeyPatch) -> Checker:
    checker = Checker()
    monkeypatch.setattr(views, "authenticate", checker)
    return checker


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All turns are taken, and nobody waits for long."""
    monkeypatch.setattr(turns, "WAIT_SECONDS", 0.01)
    for _ in range(turns.AT_ONCE):
        turns._turns.acquire()
    yield
    for _ in range(turns.AT_ONCE):
        turns._turns.release()


def try_together() -> list[str]:
    """So many wrong passwords at the same time from one address; what each call raised."""
    request: Any = SimpleNamespace(
        META={"REMOTE_ADDR": "192.0.2.7"}, parser_context={"view": views.ObtainView()}
    )

    def call(_: int) -> str:
        with pytest.raises((AuthenticationFailed, Throttled)) as caught:
            views.authenticate_user(request, username="ada", password="wrong")
        return caught.typename

    with ThreadPoolExecutor(CALLS) as pool:
        return list(pool.map(call, range(CALLS)))


def allow_failures(monkeypatch: pytest.MonkeyPatch, rate: str) -> None:
    monkeypatch.setattr(settings, "TOKEN_RATES", {"sign_in_failure": rate})


def test_no_more_than_a_few_passwords_are_looked_at_together(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_failures(monkeypatch, "1000/min")
    assert try_together() == ["AuthenticationFailed"] * CALLS
    assert (checker.calls, checker.most) == (CALLS, turns.AT_ONCE)


def test_who_comes_all_at_once_has_no_more_guesses_than_one_by_one(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_failures(monkeypatch, "3/min")
    outcomes = try_together()
    assert 3 <= checker.calls < 3 + turns.AT_ONCE
    assert outcomes.count("Throttled") == CALLS - checker.calls


@pytest.mark.usefixtures("busy")
def test_who_gets_no_turn_in_time_is_told_to_come_again(
    api: APIClient, user: User, password: str
) -> None:
    for path in ("/api/token/", "/api/browser/sign-in/"):
        response = api.post(path, {"username": "ada", "password": password}, format="json")
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        assert response["Retry-After"] == "1"


@pytest.mark.usefixtures("busy")
def test_the_admin_says_so_in_its_form(client: Client, db: None) -> None:
    response = client.post(reverse("admin:login"), {"username": "ada", "password": "x"})
    assert response.status_code == 200
    assert "too many sign in at this moment" in response.text


@pytest.mark.usefixtures("busy")
def test_who_waits_for_a_turn_keeps_no_connection_to_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PostgreSQL's pool has few, and every handshake needs one."""
    given_back: list[bool] = []
    monkeypatch.setattr(turns, "close_old_connections", lambda: given_back.append(True))
    with pytest.raises(errors.Unavailable), turns.password_turn():
        raise AssertionError("there was no turn")
    assert given_back == [True]


def test_a_turn_is_given_back_whatever_happens() -> None:
    for _ in range(2 * turns.AT_ONCE):
        with pytest.raises(RuntimeError), turns.password_turn():
            raise RuntimeError("on the way")
