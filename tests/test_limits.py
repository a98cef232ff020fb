"""Limits on clients: connections, handshakes, and whose messages are counted together."""

from types import SimpleNamespace
from typing import Any

import pytest

from realtime import limits
from realtime.conf import build_settings
from realtime.core.identity import Identity
from realtime.limits import Limits
from realtime.sessions import Session


def build_limits(**options: int) -> Limits:
    return Limits(build_settings({name.upper(): value for name, value in options.items()}))


def build_session(user: int | None = None, address: str = "192.0.2.1") -> Session:
    identity = Identity(SimpleNamespace(pk=user), None, 0.0) if user is not None else None
    return Session(
        topic="",
        address=address,
        user_agent="",
        close=lambda code, reason: None,
        identity=identity,
    )


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    return clock


# Connections


def test_a_user_over_the_limit_is_told_which_and_closing_makes_room() -> None:
    counted = build_limits(connections_per_user=2)
    first, second, third = (build_session(user=1) for _ in range(3))
    assert counted.open(first) is None
    assert counted.open(second) is None
    assert counted.open(third) == "at most 2 connections for each user"
    assert counted.open(build_session(user=2)) is None
    counted.close(third)
    counted.close(first)
    assert counted.open(build_session(user=1)) is None


def test_an_address_over_the_limit_is_told_which_whoever_the_user_is() -> None:
    counted = build_limits(connections_per_address=2)
    assert counted.open(build_session(user=1)) is None
    assert counted.open(build_session()) is None
    assert counted.open(build_session(user=2)) == "at most 2 connections for each address"
    assert counted.open(build_session(address="192.0.2.2")) is None


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),  # a UNIX socket has no address
    ],
)
def test_a_network_of_ipv6_counts_as_one_address(one: str, other: str, together: bool) -> None:
    counted = build_limits(connections_per_address=1)
    assert counted.open(build_session(address=one)) is None
    assert (counted.open(build_session(address=other)) is not None) is together


def test_zero_lifts_a_limit() -> None:
    counted = build_limits(
        connections_per_user=0,
        connections_per_address=0,
        messages_per_second=0,
        handshakes_per_second=0,
    )
    for _ in range(5000):
        assert counted.open(build_session(user=1)) is None
        assert counted.admit_handshake(1)
    assert counted.find_bucket(build_session(user=1)) is None


# Handshakes


def test_handshakes_come_two_seconds_worth_at_once_and_then_at_the_rate(clock: Clock) -> None:
    counted = build_limits(handshakes_per_second=5)
    assert [counted.admit_handshake(1) for _ in range(11)] == [True] * 10 + [False]
    clock.now += 1
    assert [counted.admit_handshake(1) for _ in range(6)] == [True] * 5 + [False]


# Messages


def find(counted: Limits, session: Session) -> Any:
    """The bucket of a session that is being opened."""
    counted.open(session)
    return counted.find_bucket(session)


def test_messages_are_counted_for_each_user_or_else_for_each_address() -> None:
    counted = build_limits()
    anna = find(counted, build_session(user=1))
    assert find(counted, build_session(user=1, address="192.0.2.9")) is anna
    assert find(counted, build_session(user=2)) is not anna
    anonymous = find(counted, build_session())
    assert anonymous is not anna
    assert find(counted, build_session()) is anonymous
    assert find(counted, build_session(address="192.0.2.9")) is not anonymous


def test_a_bucket_holds_two_seconds_worth(clock: Clock) -> None:
    bucket = find(build_limits(messages_per_second=3), build_session(user=1))
    assert [bucket.take(clock.now) for _ in range(7)] == [True] * 6 + [False]


def test_reconnecting_within_a_minute_finds_the_bucket_as_it_was(clock: Clock) -> None:
    counted = build_limits()
    session = build_session(user=1)
    bucket = find(counted, session)
    counted.close(session)
    clock.now += 59
    close_another(counted)
    assert find(counted, build_session(user=1)) is bucket


def test_a_minute_after_its_last_session_a_bucket_is_forgotten(clock: Clock) -> None:
    counted = build_limits()
    session = build_session(user=1)
    bucket = find(counted, session)
    counted.close(session)
    clock.now += 61
    close_another(counted)
    assert find(counted, build_session(user=1)) is not bucket


def test_a_bucket_stays_while_any_of_its_sessions_does(clock: Clock) -> None:
    counted = build_limits()
    stays, goes = build_session(user=1), build_session(user=1)
    bucket = find(counted, stays)
    find(counted, goes)
    counted.close(goes)
    clock.now += 61
    close_another(counted)
    assert find(counted, build_session(user=1)) is bucket


def test_nothing_is_kept_of_those_who_left_long_ago(clock: Clock) -> None:
    counted = build_limits()
    for user in range(1000):
        session = build_session(user=user, address=f"2001:db8:0:{user:x}::1")
        find(counted, session)
        counted.close(session)
        clock.now += 1
    kept = [len(held) for held in vars(counted).values() if isinstance(held, dict)]
    assert max(kept) <= limits.BUCKET_MEMORY + 1


def close_another(counted: Limits) -> None:
    """Open and close a session of another user: only then is it looked for what is old."""
    other = build_session(user=99)
    counted.open(other)
    counted.close(other)
