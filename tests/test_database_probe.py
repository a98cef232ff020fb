"""The database is asked by one thread at a time, however many want to know."""

import asyncio
import threading
import time

import pytest
from django.db import DatabaseError

from realtime import database_probe
from realtime.database_probe import DatabaseProbe


async def test_all_who_ask_at_once_share_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(database_probe, "_select", lambda: asked.append(time.sleep(0.05)))
    probe = DatabaseProbe()
    assert await asyncio.gather(*(probe.look() for _ in range(50))) == [True] * 50
    assert len(asked) == 1


async def test_an_answer_is_good_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_probe, "FRESH", 0.05)
    answers = iter([None, DatabaseError("gone"), None])

    def select() -> None:
        if (error := next(answers)) is not None:
            raise error

    monkeypatch.setattr(database_probe, "_select", select)
    probe = DatabaseProbe()
    seen = []
    for _ in range(3):
        seen += [await probe.look(), await probe.look()]
        await asyncio.sleep(0.06)
    assert seen == [True, True, False, False, True, True]


async def test_a_database_that_hangs_counts_as_away_and_takes_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database_probe, "TIMEOUT", 0.05)
    released = threading.Event()
    asked = []
    monkeypatch.setattr(database_probe, "_select", lambda: asked.append(released.wait(30)))
    probe = DatabaseProbe()
    for _ in range(3):
        assert await asyncio.gather(*(probe.look() for _ in range(10))) == [False] * 10
    released.set()
    while not asked:
        await asyncio.sleep(0.01)
    assert await probe.look()
    assert len(asked) == 1
