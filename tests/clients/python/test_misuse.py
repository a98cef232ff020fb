"""Wherever a stream or a pool cannot work, each of its methods says so at once: none waits."""

import asyncio
import inspect
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from realtime_client import (
    ClientError,
    Misuse,
    Pool,
    PoolClosed,
    State,
    StreamClosed,
    connect,
    sync,
)
from realtime_client.stream import Stream as AsyncStream
from tests.servers import ROOT

AT_ONCE = 5.0  # s; far below any timeout of the client's own
PROTOCOL = {"__enter__", "__next__", "__aenter__", "__anext__"}
# What a method needs to be called with. One that is missing here is called without anything.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "publish": (1,),
    "publish_array": ([1.0],),
    "publish_bytes": (b"x",),
    "publish_samples": ([1.0],),
    "request": ((2,),),
    "release": (object(),),
}


def find_methods(kind: type) -> list[str]:
    """Its public methods, and those behind `with`, `for` and their like."""
    members = inspect.getmembers(kind, callable)
    return [name for name, _ in members if not name.startswith("_") or name in PROTOCOL]


SYNC = find_methods(sync.Stream)
ASYNC = find_methods(AsyncStream)
POOL = find_methods(Pool)


def call(target: Any, name: str) -> Any:
    """Call a method; its coroutine is returned, or its context manager's."""
    result = getattr(target, name)(*ARGUMENTS.get(name, ()))
    return result.__aenter__() if hasattr(result, "__aenter__") else result


async def try_each(target: Any, names: list[str]) -> dict[str, str]:
    """What each of the methods raises, by name; a dash where it raises nothing."""
    outcomes = {}
    for name in names:
        began = time.monotonic()
        try:
            result = call(target, name)
            if inspect.isawaitable(result):
                await result
            outcomes[name] = "-"
        except (ClientError, StopIteration, StopAsyncIteration, ValueError) as error:
            outcomes[name] = type(error).__name__
        assert time.monotonic() - began < AT_ONCE, name
    return outcomes


def try_each_sync(target: Any, names: list[str]) -> dict[str, str]:
    """The same without an event loop."""
    steps = try_each(target, names)
    try:
        steps.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("a method without `await` gave something to await")


def expect(names: list[str], error: type[Exception], **others: str) -> dict[str, str]:
    return {name: others.get(name, error.__name__) for name in names}


@pytest.fixture
def topic(url: Callable[[str], str]) -> str:
    """The address of a topic of this test's own."""
    return url("broadcast")


def test_the_methods_are_found() -> None:
    assert {"open", "close", "publish", "receive", "__next__"} <= set(SYNC)
    assert {"open", "close", "publish", "receive", "__anext__"} <= set(ASYNC)
    assert {"acquire", "release", "connection", "close", "request"} <= set(POOL)


# Before and after


def test_a_sync_stream_that_is_not_open_says_so(topic: str) -> None:
    names = [name for name in SYNC if name not in {"open", "__enter__", "close"}]
    assert try_each_sync(sync.connect(topic), names) == expect(names, Misuse)


async def test_a_stream_that_is_not_open_says_so(topic: str) -> None:
    names = [name for name in ASYNC if name not in {"open", "__aenter__", "close"}]
    assert await try_each(connect(topic), names) == expect(names, Misuse)


def test_a_closed_sync_stream_says_so(topic: str, client_token: str) -> None:
    stream = sync.connect(topic, token=client_token)
    with stream:
        with pytest.raises(Misuse, match="opened once"):
            stream.open()
        assert stream.state is State.LIVE
    ends = {"close": "-", "__next__": "StopIteration"}
    assert try_each_sync(stream, SYNC) == expect(SYNC, StreamClosed, **ends)


async def test_a_closed_stream_says_so(topic: str, client_token: str) -> None:
    async with connect(topic, token=client_token) as stream:
        with pytest.raises(Misuse, match="opened once"):
            await stream.open()
        assert stream.state is State.LIVE
    ends = {"close": "-", "__anext__": "StopAsyncIteration"}
    ends |= {"open": "Misuse", "__aenter__": "Misuse"}
    assert await try_each(stream, ASYNC) == expect(ASYNC, StreamClosed, **ends)


async def test_a_closed_pool_says_so(topic: str, client_token: str) -> None:
    async with Pool(topic, token=client_token) as pool:
        assert (await pool.publish(1)).offset == 1
    ends = {"close": "-", "__aenter__": "-", "release": "ValueError"}
    assert await try_each(pool, POOL) == expect(POOL, PoolClosed, **ends)


# On another event loop


@pytest.mark.parametrize("has_ended", [True, False])
def test_on_another_event_loop_a_stream_and_a_pool_say_so(
    topic: str, client_token: str, has_ended: bool
) -> None:
    loop = asyncio.new_event_loop()
    stream, pool = connect(topic, token=client_token), Pool(topic, token=client_token)

    async def begin() -> None:
        await stream.open()
        await pool.publish(1)

    async def end() -> None:
        await stream.close()
        await pool.close()

    loop.run_until_complete(begin())
    if has_ended:
        loop.run_until_complete(end())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    else:
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

    async def misuse() -> tuple[dict[str, str], dict[str, str]]:
        return await try_each(stream, ASYNC), await try_each(pool, POOL)

    of_stream, of_pool = asyncio.run(misuse())
    assert of_stream == expect(ASYNC, Misuse)
    assert of_pool == expect(POOL, Misuse)
    with pytest.raises(Misuse, match="loop that has ended" if has_ended else "another event loop"):
        asyncio.run(stream.ping())
    if not has_ended:
        assert asyncio.run_coroutine_threadsafe(stream.publish(2), loop).result().offset == 2
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def test_a_sync_stream_works_inside_a_running_event_loop_as_in_a_notebook(
    topic: str, client_token: str
) -> None:
    with sync.connect(topic, token=client_token) as stream:
        assert stream.publish(1).offset == 1
        assert stream.receive().data == 1  # type: ignore[union-attr]


# From its own callbacks


def test_from_its_own_callbacks_a_sync_stream_says_so(topic: str, client_token: str) -> None:
    outcomes: list[dict[str, str]] = []
    stream = sync.connect(
        topic,
        token=client_token,
        on_state=lambda change: outcomes.append(try_each_sync(stream, SYNC)),
    )
    with stream:
        assert stream.publish(1).offset == 1
    assert outcomes == [expect(SYNC, Misuse)] * 2  # live, closed


def test_from_its_own_token_function_a_sync_stream_says_so(topic: str, client_token: str) -> None:
    outcomes: list[dict[str, str]] = []

    async def give() -> str:
        outcomes.append(try_each_sync(stream, SYNC))
        return client_token

    stream = sync.connect(topic, token=give)
    with stream:
        assert stream.publish(1).offset == 1
    assert outcomes == [expect(SYNC, Misuse)]


# After a fork

IN_A_FORK = """
import asyncio, json, os, sys, threading
from tests.clients.python.test_misuse import ASYNC, POOL, SYNC, try_each, try_each_sync
from realtime_client import Pool, connect, sync

topic, token = sys.argv[1:]
unopened = sync.connect(topic, token=token)
stream = sync.connect(topic, token=token)

def fork(work):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, json.dumps(work()).encode())
        os._exit(0)
    os.close(writer)
    print(os.fdopen(reader).read())
    os.wait()

def use_unopened():
    with unopened:
        return unopened.publish("child").offset

async def use_async():
    other, pool = connect(topic, token=token), Pool(topic, token=token)
    await other.open()
    await pool.publish("pool")
    # A fork in the middle of a loop: the child goes on in a loop of its own, in another thread.
    def in_child():
        outcomes = []
        async def misuse():
            outcomes.extend([await try_each(other, ASYNC), await try_each(pool, POOL)])
        thread = threading.Thread(target=asyncio.run, args=[misuse()])
        thread.start()
        thread.join()
        return outcomes
    fork(in_child)
    await other.publish("parent's")
    await pool.publish("parent's")
    await other.close()
    await pool.close()

with stream:
    stream.publish("parent's")
    with stream._submitting:  # held by another thread at the moment of the fork
        fork(lambda: try_each_sync(stream, SYNC))
    fork(use_unopened)
    asyncio.run(use_async())
    if os.fork() == 0:
        sys.exit(7)  # leaves the block
    print(os.waitstatus_to_exitcode(os.wait()[1]))
    print(stream.publish("parent's").duplicate)
"""


def test_in_a_fork_each_method_says_so_and_the_parent_goes_on(
    topic: str, client_token: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IN_A_FORK, topic, client_token],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'clients' / 'python'}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    of_sync, of_unopened, of_async, code, duplicate = done.stdout.splitlines()
    assert json.loads(of_sync) == expect(SYNC, Misuse)
    assert json.loads(of_unopened) == 2, "what is opened after the fork is the child's own"
    assert json.loads(of_async) == [expect(ASYNC, Misuse), expect(POOL, Misuse)]
    assert (code, duplicate) == ("7", "False")
