"""The project's own code is awaited, or runs in threads of its own."""

import asyncio
import os
import threading
from typing import Any

import pytest
from django.db import connection, connections

from realtime.project_code import THREADS, call_code, find_threads


async def test_what_waits_for_a_thread_and_is_cancelled_never_begins() -> None:
    """Else a process that ends would first do all that nobody waits for any more."""
    begun: list[int] = []
    is_over = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        is_over.wait(30)
        return number

    threads = find_threads("cancelled")
    calls = [asyncio.create_task(call_code(work, n, threads=threads)) for n in range(3 * THREADS)]
    try:
        async with asyncio.timeout(8):
            while len(begun) < THREADS:
                await asyncio.sleep(0.01)
        for call in calls[THREADS:]:
            call.cancel()
        await asyncio.wait(calls[THREADS:])
    finally:
        is_over.set()
    assert await asyncio.gather(*calls[:THREADS]) == list(range(THREADS))
    assert await call_code(work, 99, threads=threads) == 99
    assert begun == [*range(THREADS), 99]


@pytest.mark.django_db(transaction=True)
async def test_a_connection_to_the_database_is_given_back_after_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[Any] = []
    monkeypatch.setattr(
        type(connections["default"]),
        "close_if_unusable_or_obsolete",
        lambda self: closed.append(self),
    )

    def ask() -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return connections["default"]

    used = await call_code(ask, threads=find_threads("database"))
    assert used in closed


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of Python 3.12
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_makes_threads_of_its_own() -> None:
    find_threads("forked").submit(int).result()
    child = os.fork()
    if not child:
        os._exit(find_threads("forked").submit(int, "7").result(8))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
