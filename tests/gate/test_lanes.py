"""Threads for requests, and who gets one next."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from realtime.gate.lanes import Lane, Refusal, Turn


@pytest.fixture
def lane() -> Lane:
    return Lane("test", threads=2, waiting=5, waiting_of_address=3)


def enter(lane: Lane, address: str) -> Turn:
    turn = Turn(lane, address)
    assert turn.enter() is None
    return turn


def granted(turns: list[Turn]) -> list[bool]:
    return [turn.granted.done() for turn in turns]


async def test_so_many_run_and_the_others_wait_address_by_address(lane: Lane) -> None:
    first, second = enter(lane, "a"), enter(lane, "b")
    assert granted([first, second]) == [True, True]
    greedy = [enter(lane, "a") for _ in range(3)]
    others = [enter(lane, "b"), enter(lane, "c")]
    order = []
    running = [first, second]
    waiting = {**{f"a{n}": turn for n, turn in enumerate(greedy)}, "b": others[0], "c": others[1]}
    while running:
        running.pop(0).leave()
        for name, turn in list(waiting.items()):
            if turn.granted.done():
                order.append(name)
                running.append(waiting.pop(name))
    assert order == ["a0", "b", "c", "a1", "a2"]


async def test_one_address_never_has_all_threads(lane: Lane) -> None:
    running, waiting = enter(lane, "a"), enter(lane, "a")
    assert granted([running, waiting]) == [True, False]
    assert enter(lane, "b").granted.done()


async def test_who_is_one_too_many_is_told_whose_they_are(lane: Lane) -> None:
    enter(lane, "a"), enter(lane, "b")
    for _ in range(3):
        enter(lane, "a")
    assert Turn(lane, "a").enter() is Refusal.ADDRESS_FULL
    assert lane.find_refusal("a") is Refusal.ADDRESS_FULL
    enter(lane, "b"), enter(lane, "c")
    assert Turn(lane, "d").enter() is Refusal.LANE_FULL


async def test_who_withdraws_leaves_the_place_to_others(lane: Lane) -> None:
    running = enter(lane, "a"), enter(lane, "b")
    turns = [enter(lane, "a") for _ in range(3)]
    turns[0].withdraw()
    assert lane.find_refusal("a") is None
    running[0].leave()
    assert granted(turns) == [False, True, False]
    turns[1].withdraw()  # too late: it has a thread
    turns[1].leave()
    turns[1].leave()
    assert granted(turns) == [False, True, True]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opened = threading.Event()
    yield opened
    opened.set()


async def test_a_thread_that_still_works_for_who_gave_up_is_not_given_to_the_next(
    lane: Lane, gate: threading.Event
) -> None:
    turn = enter(lane, "a")
    work = turn.submit(gate.wait, 30)
    turn.leave_when_idle()
    following = enter(lane, "a")
    await asyncio.sleep(0.05)
    assert not following.granted.done()
    gate.set()
    await asyncio.wait_for(following.granted, 30)
    assert work.done()


async def test_a_thread_serves_one_after_another() -> None:
    lane = Lane("test", threads=3, waiting=0, waiting_of_address=0)
    names = set()
    for _ in range(20):
        turn = enter(lane, "a")
        names.add(await asyncio.wrap_future(turn.submit(lambda: threading.current_thread().name)))
        turn.leave()
    assert len(names) == 1


async def test_nothing_runs_in_a_thread_before_there_is_one(lane: Lane) -> None:
    with pytest.raises(RuntimeError, match="before the body has been read"):
        Turn(lane, "a").submit(int)
