"""Messages and bytes a second: one allowance for all sessions of a user."""

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.conf import MIB, build_settings
from realtime.limits import Limit, allowances
from realtime.limits.allowances import MEMORY_SECONDS, Allowance, Allowances
from realtime.metrics import LIMITED
from tests.virtual_time import virtual_time as virtual_time


def build(now: float = 0.0, **options: int) -> Allowance:
    settings = build_settings({name.upper(): value for name, value in options.items()})
    return Allowance(settings, key="user 1", now=now)


def read(limit: Limit) -> float:
    return LIMITED.labels(limit)._value.get()


# Messages


def test_two_seconds_worth_of_messages_come_at_once_and_then_the_rate() -> None:
    allowance = build(messages_per_second=3)
    assert [allowance.take(1, 0.0) for _ in range(7)] == [True] * 6 + [False]
    assert [allowance.take(1, 1.0) for _ in range(4)] == [True] * 3 + [False]
    assert [allowance.take(1, 100.0) for _ in range(7)] == [True] * 6 + [False]


def test_work_takes_messages_out_so_that_a_second_of_them_pays_for_a_tenth_of_a_second() -> None:
    allowance = build(messages_per_second=20)
    allowance.charge(0.1)
    assert [allowance.take(1, 0.0) for _ in range(21)] == [True] * 20 + [False]
    allowance.charge(0.5)  # a debt of 100 messages
    assert not allowance.take(1, 4.9)
    assert allowance.take(1, 5.1)


def test_where_messages_are_not_limited_work_is_not_either() -> None:
    allowance = build(messages_per_second=0)
    allowance.charge(1000.0)
    assert allowance.take(1, 0.0)


# Bytes


def test_two_seconds_worth_of_bytes_come_at_once_and_then_the_rate() -> None:
    allowance = build(bytes_per_second=100, max_binary_bytes=150)
    assert [allowance.take(50, 0.0) for _ in range(6)] == [True] * 5 + [False]
    assert not allowance.take(0, 0.49)  # a debt of 50 bytes
    assert allowance.take(0, 0.5)


def test_a_whole_publication_goes_at_once_however_low_the_rate() -> None:
    allowance = build(bytes_per_second=1, max_binary_bytes=MIB)
    for _ in range(4):
        assert allowance.take(MIB // 4, 0.0)


def test_a_message_longer_than_the_bucket_goes_and_leaves_a_debt() -> None:
    allowance = build(bytes_per_second=100, max_binary_bytes=1)
    assert allowance.take(1200, 0.0)
    assert not allowance.take(1, 9.9)
    assert allowance.take(1, 10.01)


def test_what_was_refused_is_not_counted() -> None:
    allowance = build(bytes_per_second=100, max_binary_bytes=1, messages_per_second=1)
    assert allowance.take(300, 0.0)
    assert not any(allowance.take(1000, 0.5) for _ in range(10))
    assert allowance.take(0, 1.0)


@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.integers(0, 3000), st.booleans()), min_size=1, max_size=60
    )
)
def test_no_more_passes_than_the_rates_allow(steps: list[tuple[float, int, bool]]) -> None:
    rate, message_rate, longest = 1000, 4, 3000
    allowance = build(bytes_per_second=rate, messages_per_second=message_rate, max_binary_bytes=500)
    now = taken = messages = 0.0
    for delay, size, waits in steps:
        now += delay
        if allowance.take(size, now):
            passed = True
        elif passed := waits:
            now += allowance.reserve(size)
        if passed:
            taken += size
            messages += 1
        assert taken <= now * rate + 2 * rate + longest + 1e-6
        assert messages <= now * message_rate + 2 * message_rate + 1e-6


def test_zero_lifts_each_of_both() -> None:
    allowance = build(messages_per_second=0, bytes_per_second=100, max_binary_bytes=1)
    assert all(allowance.take(0, 0.0) for _ in range(10_000))
    assert allowance.take(201, 0.0)
    assert not allowance.take(0, 0.0)
    assert allowance.reserve(0) == pytest.approx(0.01)
    allowance = build(messages_per_second=2, bytes_per_second=0)
    assert [allowance.take(1 << 40, 0.0) for _ in range(5)] == [True] * 4 + [False]
    assert allowance.reserve(1) == pytest.approx(0.5)


# Over them


def test_it_is_said_and_counted_which_of_both_it_was() -> None:
    before = read(Limit.MESSAGES), read(Limit.BYTES)
    allowance = build(messages_per_second=1)
    while allowance.take(1, 0.0):
        pass
    assert allowance.exceed(1).detail == "at most 1 messages a second"
    allowance = build(bytes_per_second=100, max_binary_bytes=1)
    while allowance.take(1000, 0.0):
        pass
    assert allowance.exceed(1).detail == "at most 100 bytes a second"
    assert (read(Limit.MESSAGES), read(Limit.BYTES)) == (before[0] + 1, before[1] + 1)


async def test_those_who_wait_have_one_turn_each_at_the_rate(virtual_time: None) -> None:
    loop = asyncio.get_running_loop()
    allowance = build(messages_per_second=100)
    while allowance.take(1, 0.0):
        pass
    turns = []

    async def wait(name: int) -> None:
        await allowance.exceed(1).wait()
        turns.append((name, loop.time()))

    began = loop.time()
    await asyncio.gather(*map(wait, range(20)))
    assert [name for name, _ in turns] == list(range(20))
    assert [at - began for _, at in turns] == pytest.approx([n / 100 for n in range(1, 21)])


# Whose they are


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still until it is moved."""
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(allowances, "time", clock)
    return clock


@pytest.fixture
def kept(clock: SimpleNamespace) -> Allowances:
    return Allowances(build_settings({}))


def pass_by(kept: Allowances, key: str = "another") -> None:
    """A session that comes and goes: only then is it looked for what is old."""
    allowance = kept.open(key)
    assert allowance is not None
    kept.close(allowance)


def test_a_key_has_one_allowance(kept: Allowances) -> None:
    first = kept.open("user 1")
    assert kept.open("user 1") is first is not None
    assert kept.open("user 2") is not first


def test_who_comes_back_within_a_minute_finds_it_as_it_was(
    kept: Allowances, clock: SimpleNamespace
) -> None:
    first = kept.open("user 1")
    assert first is not None
    kept.close(first)
    clock.now += MEMORY_SECONDS - 1
    pass_by(kept)
    assert kept.open("user 1") is first


def test_a_minute_after_the_last_session_it_is_forgotten(
    kept: Allowances, clock: SimpleNamespace
) -> None:
    first = kept.open("user 1")
    assert first is not None
    kept.close(first)
    clock.now += MEMORY_SECONDS + 1
    pass_by(kept)
    assert kept.open("user 1") is not first


def test_it_stays_while_any_session_does(kept: Allowances, clock: SimpleNamespace) -> None:
    first = kept.open("user 1")
    assert kept.open("user 1") is first is not None
    kept.close(first)
    clock.now += MEMORY_SECONDS + 1
    pass_by(kept)
    assert kept.open("user 1") is first


def test_nothing_is_kept_of_those_who_left_long_ago(
    kept: Allowances, clock: SimpleNamespace
) -> None:
    for number in range(1000):
        pass_by(kept, f"user {number}")
        clock.now += 1
    sizes = [len(held) for held in vars(kept).values() if isinstance(held, dict)]
    assert max(sizes) <= MEMORY_SECONDS + 1


def test_without_limits_there_is_none() -> None:
    unlimited = Allowances(build_settings({"MESSAGES_PER_SECOND": 0, "BYTES_PER_SECOND": 0}))
    assert unlimited.open("user 1") is None
