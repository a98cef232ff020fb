"""A process's runtime: made once, on the loop of its sockets, and put away whole."""

import asyncio
import math
from types import SimpleNamespace

import pytest

from realtime import runtime
from realtime.core.errors import NotRunning
from realtime.rechecks import Rechecks
from realtime.runtime import (
    Runtime,
    cancel_tasks,
    find_runtime,
    get_server_runtime,
    scope_id,
    stop_server_runtime,
)
from realtime.tracking.load import Load, LoadMeter
from tests.topics import wait_until


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.tracking.lease.Lease.renew", lambda *_: True)
    monkeypatch.setattr("realtime.tracking.lease.Lease.end", lambda _: None)
    monkeypatch.setattr("realtime.tracking.recorder.sweep", lambda: None)
    monkeypatch.setattr("realtime.tracking.recorder.close_old_connections", lambda: None)


async def test_the_server_s_is_made_once_and_found_by_publishers() -> None:
    made = get_server_runtime()
    assert get_server_runtime() is made
    assert find_runtime() is made
    assert made.is_current()
    assert not await asyncio.to_thread(made.is_current)
    await stop_server_runtime()
    with pytest.raises(NotRunning):
        find_runtime()


async def test_a_second_loop_in_one_process_is_refused() -> None:
    get_server_runtime()

    async def elsewhere() -> Runtime:
        return get_server_runtime()

    with pytest.raises(RuntimeError, match="another event loop"):
        await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    await stop_server_runtime()


async def test_a_cancellation_that_got_lost_is_sent_again_and_who_never_ends_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runtime, "CANCEL_AGAIN", 0.02)
    monkeypatch.setattr(runtime, "CANCEL_FOR", 30)
    is_over = asyncio.Event()

    async def work(losses: float) -> None:
        while losses and not is_over.is_set():
            try:
                await is_over.wait()
            except asyncio.CancelledError:
                losses -= 1

    forgetful = asyncio.create_task(work(2))
    await asyncio.sleep(0)
    await cancel_tasks([forgetful])
    assert forgetful.done()
    assert not caplog.records
    monkeypatch.setattr(runtime, "CANCEL_FOR", 0.1)
    stubborn = asyncio.create_task(work(math.inf))
    await asyncio.sleep(0)
    await cancel_tasks([stubborn])
    assert not stubborn.done()
    assert "did not end" in caplog.text
    is_over.set()
    await stubborn


async def test_stopping_ends_every_task_and_is_safe_to_repeat() -> None:
    before = asyncio.all_tasks()
    made = get_server_runtime()
    await wait_until(lambda: len(asyncio.all_tasks() - before) >= 4)
    await stop_server_runtime()
    await stop_server_runtime()
    assert asyncio.all_tasks() - before == set()
    assert get_server_runtime() is not made
    await stop_server_runtime()


async def test_stopping_ends_a_task_that_loses_its_cancellation_once() -> None:
    made = get_server_runtime()
    lost = 0

    async def lose_one() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if lost:
                    raise
                lost += 1

    made.run_soon(lose_one())
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await stop_server_runtime()
    assert lost == 1


async def test_a_task_that_fails_is_logged_and_forgotten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = Runtime(has_sessions=False)

    async def fail() -> None:
        raise ValueError("broken")

    await asyncio.gather(made.run_soon(fail()), return_exceptions=True)
    await asyncio.sleep(0)
    assert "a background task failed" in caplog.text
    assert made._tasks == set()
    await made.stop()


@pytest.mark.parametrize(
    "error", [ValueError("a bad answer"), asyncio.CancelledError("of something that it waited for")]
)
async def test_a_task_of_the_whole_process_begins_again_where_it_fails_until_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    monkeypatch.setattr(runtime, "RESTART_DELAY", 0.01)
    begun = ended = 0

    async def run_forever(_: Rechecks) -> None:
        nonlocal begun, ended
        begun += 1
        if begun < 4:
            raise error
        try:
            await asyncio.sleep(60)
        finally:
            ended += 1

    monkeypatch.setattr(Rechecks, "run_forever", run_forever)
    before = asyncio.all_tasks()
    get_server_runtime()
    await wait_until(lambda: begun == 4)
    failures = [record for record in caplog.records if "begins again" in record.message]
    assert len(failures) == 3
    assert all(record.exc_info for record in failures)
    await stop_server_runtime()
    assert (begun, ended) == (4, 1)
    assert asyncio.all_tasks() - before == set()


async def test_a_task_that_fails_as_it_is_cancelled_does_not_begin_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "RESTART_DELAY", 0)
    begun = 0

    async def run_forever(_: Rechecks) -> None:
        nonlocal begun
        begun += 1
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("broken at the end")

    monkeypatch.setattr(Rechecks, "run_forever", run_forever)
    get_server_runtime()
    await wait_until(lambda: begun)
    await stop_server_runtime()
    assert begun == 1


async def test_sessions_are_written_again_after_no_descriptor_was_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever in the recorder meets it: here, the tasks themselves."""
    monkeypatch.setattr(runtime, "RESTART_DELAY", 0.01)
    monkeypatch.setattr(runtime, "is_in_memory", lambda _: False)
    measured = 0

    def measure(meter: LoadMeter) -> Load:
        nonlocal measured
        measured += 1
        if measured == 1:
            raise OSError(24, "Too many open files")
        return Load(0, 0, 0, 0, 0, 0)

    monkeypatch.setattr(LoadMeter, "measure", measure)
    get_server_runtime()
    await wait_until(lambda: measured == 2)
    await stop_server_runtime()


def test_ids_of_users_and_of_the_server_do_not_meet() -> None:
    ids = [scope_id("x", user) for user in (None, SimpleNamespace(pk=1), SimpleNamespace(pk=2))]
    assert len(set(ids)) == 3
    assert scope_id(None, SimpleNamespace(pk=1)) is None
    assert runtime.CONTROL_GROUP == "rt.control"
