"""Counts that instances share, and what becomes of them without Redis."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts import counts
from accounts.counts import Counts
from tests.servers import RedisServer


@pytest.fixture
def own() -> Iterator[LocMemCache]:
    cache = LocMemCache("tests", {})
    yield cache
    cache.clear()


@pytest.fixture
def instance(redis: RedisServer, own: LocMemCache) -> Iterator[Callable[..., Counts]]:
    """Makes the counts of an instance, which waits for Redis for so many seconds."""
    caches: list[RedisCache] = []

    def make(timeout: float = 15.0) -> Counts:
        options = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
        }
        caches.append(RedisCache(redis.url, {"OPTIONS": options}))
        return Counts(caches[-1], own)

    yield make
    for cache in caches:
        cache._cache.get_client().connection_pool.disconnect()


def test_a_count_rises_and_begins_anew_when_its_time_is_over(
    own: LocMemCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_767_225_600.0
    monkeypatch.setattr(time, "time", lambda: now)
    counting = Counts(own, own)
    assert counting.read("a", seconds=1).number == 0
    first = counting.add("a", seconds=1)
    assert (first.number, counting.add("a", seconds=1).number) == (1, 2)
    assert counting.read("a", seconds=1) == (2, first.ends_at)
    assert first.ends_at == now + 1
    assert counting.read("b", seconds=1).number == 0
    now += 0.99
    assert counting.read("a", seconds=1) == (2, first.ends_at)
    now += 0.02
    assert counting.read("a", seconds=1).number == 0
    assert counting.add("a", seconds=1).number == 1


def test_instances_share_their_counts_and_none_is_lost(
    instance: Callable[..., Counts], own: LocMemCache
) -> None:
    instances = [instance(), instance()]
    start = threading.Barrier(8)

    def add(number: int) -> list[int]:
        start.wait()
        return [instances[number % 2].add("a", seconds=60).number for _ in range(25)]

    with ThreadPoolExecutor(8) as pool:
        numbers = [number for found in pool.map(add, range(8)) for number in found]
    assert sorted(numbers) == list(range(1, 201))
    assert own.get("a") is None


def end_pause(counting: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it had been over by now, which is found by asking Redis next."""
    monkeypatch.setattr(counting, "_resumes_at", 0.0)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_without_redis_it_counts_in_this_process_at_once_and_says_so_once(
    redis: RedisServer,
    instance: Callable[..., Counts],
    how: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counts, "PAUSE_SECONDS", 60)
    counting = instance(timeout=1.0)
    assert counting.add("a", seconds=60).number == 1
    if how == "killed":
        redis.kill()
    else:
        redis.signal(signal.SIGSTOP)
    try:
        with caplog.at_level(logging.WARNING):
            began = time.monotonic()
            numbers = [counting.add("a", seconds=60).number for _ in range(20)]
            assert numbers == list(range(1, 21))
            assert time.monotonic() - began < 10  # one of them waited for Redis, not all 20
            end_pause(counting, monkeypatch)
            assert counting.read("a", seconds=60).number == 20  # asked, failed again, said nothing
        assert caplog.text.count("Redis does not answer") == 1
    finally:
        if how == "killed":
            redis.start()
        else:
            redis.signal(signal.SIGCONT)
    end_pause(counting, monkeypatch)
    # Redis is asked again; an empty one begins at one.
    assert counting.add("a", seconds=60).number in (1, 2)


def test_the_settings_name_both_caches() -> None:
    assert {"default", "process"} <= settings.CACHES.keys()
