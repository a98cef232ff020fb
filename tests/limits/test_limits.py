"""Limits on clients: who is let in, what is counted, and whose messages go together."""

import itertools
from types import SimpleNamespace

import pytest

from realtime.conf import build_settings
from realtime.limits import Limit, Limits, limits
from realtime.metrics import LIMITED
from realtime.sessions import Session
from tests.sessions import StubSession, build_identity


def build_limits(**options: int) -> Limits:
    settings = build_settings({name.upper(): value for name, value in options.items()})
    return Limits(settings, instance="one")


def build_session(user: int | None = None, address: str = "192.0.2.1") -> Session:
    identity = build_identity(user) if user is not None else None
    return StubSession(address=address, identity=identity).session


def read(limit: Limit) -> float:
    return LIMITED.labels(limit)._value.get()


# Connections


async def test_a_user_over_the_limit_is_told_which_and_an_end_makes_room() -> None:
    counted = build_limits(connections_per_user=2)
    first, second, third = (build_session(user=1) for _ in range(3))
    before = read(Limit.CONNECTIONS_PER_USER)
    assert await counted.admit(first) is None
    assert await counted.admit(second) is None
    assert await counted.admit(third) == "at most 2 connections for each user"
    assert read(Limit.CONNECTIONS_PER_USER) == before + 1
    assert await counted.admit(build_session(user=2)) is None
    counted.release(first)
    assert await counted.admit(build_session(user=1)) is None


async def test_an_address_over_the_limit_is_told_which_whoever_the_user_is() -> None:
    counted = build_limits(connections_per_address=2)
    before = read(Limit.CONNECTIONS_PER_ADDRESS)
    assert await counted.admit(build_session(user=1)) is None
    assert await counted.admit(build_session()) is None
    assert await counted.admit(build_session(user=2)) == "at most 2 connections for each address"
    assert read(Limit.CONNECTIONS_PER_ADDRESS) == before + 1
    assert await counted.admit(build_session(address="192.0.2.2")) is None


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),  # a UNIX socket has no address
    ],
)
async def test_a_network_of_ipv6_counts_as_one_address(
    one: str, other: str, together: bool
) -> None:
    counted = build_limits(connections_per_address=1)
    assert await counted.admit(build_session(address=one)) is None
    assert (await counted.admit(build_session(address=other)) is not None) is together


async def test_a_connection_counts_for_its_address_once_and_for_its_user_when_it_has_one() -> None:
    counted = build_limits(connections_per_user=1, connections_per_address=2)
    waiting, other = build_session(), build_session()
    for session in (waiting, other):
        assert await counted.admit(session) is None
    assert await counted.admit(build_session()) == "at most 2 connections for each address"
    for session in (waiting, other):
        session.identity = build_identity(7)
    assert await counted.admit(waiting) is None
    assert await counted.admit(other) == "at most 1 connections for each user"
    counted.release(other)
    assert await counted.admit(build_session(user=8)) is None


async def test_releasing_twice_or_without_being_let_in_changes_nothing() -> None:
    counted = build_limits(connections_per_user=1)
    first = build_session(user=1)
    assert await counted.admit(first) is None
    refused = build_session(user=1)
    assert await counted.admit(refused) is not None
    for session in (refused, refused, build_session(user=1)):
        counted.release(session)
    assert await counted.admit(build_session(user=1)) is not None
    counted.release(first)
    counted.release(first)
    assert await counted.admit(build_session(user=1)) is None
    assert await counted.admit(build_session(user=1)) is not None


async def test_zero_lifts_a_limit() -> None:
    counted = build_limits(
        connections_per_user=0,
        connections_per_address=0,
        messages_per_second=0,
        bytes_per_second=0,
        handshakes_per_second=0,
        connections_per_process=0,
    )
    for _ in range(5000):
        assert await counted.admit(build_session(user=1)) is None
        assert counted.admit_handshake(100_000, address="192.0.2.1")
    assert counted.open_allowance(build_session(user=1)) is None


# Handshakes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still until it is moved."""
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(limits, "time", clock)
    return clock


def test_handshakes_come_two_seconds_worth_at_once_and_then_at_the_rate(
    clock: SimpleNamespace,
) -> None:
    counted = build_limits(handshakes_per_second=5)
    addresses = (f"192.0.2.{number}" for number in itertools.count())

    def admit(count: int) -> list[bool]:
        return [counted.admit_handshake(1, address=next(addresses)) for _ in range(count)]

    before = read(Limit.HANDSHAKES)
    assert admit(11) == [True] * 10 + [False]
    clock.now += 1
    assert admit(6) == [True] * 5 + [False]
    assert read(Limit.HANDSHAKES) == before + 2


def test_one_address_gets_most_of_the_handshakes_and_leaves_the_others_theirs(
    clock: SimpleNamespace,
) -> None:
    counted = build_limits(handshakes_per_second=10)
    greedy = [counted.admit_handshake(1, address="2001:db8::1") for _ in range(1000)]
    assert (sum(greedy), greedy[16:]) == (16, [False] * 984)
    assert not counted.admit_handshake(1, address="2001:db8::2")  # of the same /64
    assert all(counted.admit_handshake(1, address="192.0.2.1") for _ in range(4))


def test_an_address_that_shows_bad_tokens_waits_until_it_has_made_up_for_them(
    clock: SimpleNamespace,
) -> None:
    counted = build_limits(bad_tokens_per_second=10)
    for _ in range(20):
        assert counted.find_token_wait("2001:db8::1") == 0
        counted.note_bad_token("2001:db8::2")  # of the same /64
    assert 0 < counted.find_token_wait("2001:db8::1") <= 0.1
    for _ in range(10_000):
        counted.note_bad_token("2001:db8::2")
    assert 29 < counted.find_token_wait("2001:db8::1") < 31  # and not for ever
    assert counted.find_token_wait("192.0.2.1") == 0
    clock.now += 31
    assert counted.find_token_wait("2001:db8::1") == 0


def test_a_process_takes_so_many_connections() -> None:
    counted = build_limits(connections_per_process=3)
    before = read(Limit.CONNECTIONS_PER_PROCESS)
    admitted = [counted.admit_handshake(count, address="192.0.2.1") for count in (1, 3, 4)]
    assert admitted == [True, True, False]
    assert read(Limit.CONNECTIONS_PER_PROCESS) == before + 1


# What is sent


def test_what_is_sent_is_counted_for_each_user_or_else_for_each_address() -> None:
    counted = build_limits()
    anna = counted.open_allowance(build_session(user=1))
    assert counted.open_allowance(build_session(user=1, address="192.0.2.9")) is anna
    assert counted.open_allowance(build_session(user=2)) is not anna
    anonymous = counted.open_allowance(build_session())
    assert anonymous is not anna
    assert counted.open_allowance(build_session()) is anonymous
    assert counted.open_allowance(build_session(address="192.0.2.9")) is not anonymous


async def test_coming_back_refills_nothing() -> None:
    counted = build_limits(messages_per_second=1)
    session = build_session(user=1)
    await counted.admit(session)
    allowance = counted.open_allowance(session)
    counted.release(session)
    assert counted.open_allowance(build_session(user=1)) is allowance


async def test_nothing_is_kept_of_a_session_that_ended() -> None:
    counted = build_limits()
    for user in range(100):
        session = build_session(user=user)
        await counted.admit(session)
        counted.open_allowance(session)
        counted.release(session)
    assert not counted._places
    assert not counted._connections.counts
