"""How publications get from a held topic to those who follow it."""

import asyncio

import pytest

from realtime.encoding import Burst, LivePublication
from realtime.followers import JOIN_SECONDS, Followers
from tests.topics import TOPIC, build_body
from tests.virtual_time import virtual_time as virtual_time

pytestmark = pytest.mark.usefixtures("virtual_time")


class Witness:
    """Notes what it is given, in one list that several may share."""

    def __init__(self, name: str, calls: list[tuple[str, object]]) -> None:
        self.name = name
        self.calls = calls

    def push(self, publication: LivePublication) -> None:
        self.calls.append((self.name, publication.number))

    def push_burst(self, burst: Burst) -> None:
        self.calls.append((self.name, [one.number for one in burst.publications]))

    def lose(self, *, epoch: str, next: int, reason: str) -> None:
        self.calls.append((self.name, (epoch, next, reason)))

    def fail(self) -> None:
        self.calls.append((self.name, "failed"))


def publications(*numbers: int) -> list[LivePublication]:
    return [LivePublication(TOPIC, number=n, body=build_body(n)) for n in numbers]


async def start(*names: str) -> tuple[Followers, list[tuple[str, object]]]:
    followers = Followers()
    calls: list[tuple[str, object]] = []
    for name in names:
        followers.add(Witness(name, calls))
    await asyncio.sleep(1)  # nothing has arrived for long
    return followers, calls


async def test_a_lone_publication_goes_to_everybody_at_once() -> None:
    followers, calls = await start("first", "second")
    followers.push(publications(1))
    assert calls == [("first", 1), ("second", 1)]


async def test_what_comes_within_a_moment_leaves_together() -> None:
    followers, calls = await start("one")
    followers.push(publications(1))
    followers.push(publications(2))
    followers.push(publications(3, 4))
    assert calls == [("one", 1)]
    await asyncio.sleep(JOIN_SECONDS)
    assert calls == [("one", 1), ("one", [2, 3, 4])]


async def test_a_moment_later_one_is_alone_again() -> None:
    followers, calls = await start("one")
    followers.push(publications(1))
    await asyncio.sleep(2 * JOIN_SECONDS)
    followers.push(publications(2))
    assert calls == [("one", 1), ("one", 2)]


async def test_where_statistics_are_read_each_goes_to_all_before_the_next() -> None:
    followers, calls = await start("view", "reader")
    followers.statistics = next(iter(followers))
    followers.push(publications(1, 2))
    assert calls == [("view", 1), ("reader", 1), ("view", 2), ("reader", 2)]


async def test_a_loss_comes_after_what_waits() -> None:
    followers, calls = await start("one")
    followers.push(publications(1))
    followers.push(publications(2))
    followers.lose(epoch="e", next=9, reason="history_trimmed")
    assert calls == [("one", 1), ("one", 2), ("one", ("e", 9, "history_trimmed"))]
    await asyncio.sleep(1)
    assert len(calls) == 3


async def test_nobody_is_left_after_what_waits_when_they_are_cleared() -> None:
    followers, calls = await start("one")
    followers.statistics = next(iter(followers))
    followers.push(publications(1))
    followers.push(publications(2))
    followers.clear()
    followers.push(publications(3))
    await asyncio.sleep(1)
    assert calls == [("one", 1), ("one", 2)]
    assert not followers
    assert followers.statistics is None


async def test_those_who_go_get_nothing_more_and_may_go_twice() -> None:
    followers, calls = await start("stays", "goes")
    stays, goes = followers
    followers.discard(goes)
    followers.discard(goes)
    assert goes not in followers
    assert list(followers) == [stays]
    followers.push(publications(1))
    assert calls == [("stays", 1)]


async def test_they_may_come_and_go_while_one_is_handed_on() -> None:
    followers, calls = await start()

    class Restless(Witness):
        def push(self, publication: LivePublication) -> None:
            super().push(publication)
            followers.discard(self)
            followers.add(Witness("newcomer", calls))

    followers.add(Restless("restless", calls))
    followers.push(publications(1))
    await asyncio.sleep(1)
    followers.push(publications(2))
    assert calls == [("restless", 1), ("newcomer", 2)]


class Faulty(Witness):
    """Fails at whatever it is given, and at its end where it is told to."""

    fails_to_end = False

    def push(self, publication: LivePublication) -> None:
        raise RuntimeError("a bug")

    def push_burst(self, burst: Burst) -> None:
        raise RuntimeError("a bug")

    def lose(self, *, epoch: str, next: int, reason: str) -> None:
        raise RuntimeError("a bug")

    def fail(self) -> None:
        super().fail()
        if self.fails_to_end:
            raise RuntimeError("another bug")


async def start_around_a_faulty_one() -> tuple[Followers, list[tuple[str, object]]]:
    followers, calls = await start("before")
    followers.add(Faulty("faulty", calls))
    followers.add(Witness("after", calls))
    return followers, calls


async def test_one_that_fails_is_told_so_and_costs_the_others_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    followers, calls = await start_around_a_faulty_one()
    followers.push(publications(1))
    assert calls == [("before", 1), ("faulty", "failed"), ("after", 1)]
    assert "RuntimeError: a bug" in caplog.text
    calls.clear()
    followers.push(publications(2, 3))
    followers.flush()
    assert calls == [("before", [2, 3]), ("after", [2, 3])]
    assert len(followers) == 2


async def test_one_may_fail_at_several_at_once_and_at_its_end() -> None:
    followers, calls = await start_around_a_faulty_one()
    _, faulty, _ = followers
    faulty.fails_to_end = True  # type: ignore[attr-defined]
    followers.push(publications(1, 2))
    assert calls == [("before", [1, 2]), ("faulty", "failed"), ("after", [1, 2])]


async def test_one_may_fail_at_a_loss() -> None:
    followers, calls = await start_around_a_faulty_one()
    followers.lose(epoch="e", next=9, reason="history_lost")
    loss = ("e", 9, "history_lost")
    assert calls == [("before", loss), ("faulty", "failed"), ("after", loss)]


async def test_a_view_that_fails_leaves_the_next_publications_to_the_others() -> None:
    followers, calls = await start_around_a_faulty_one()
    followers.statistics = tuple(followers)[1]
    followers.push(publications(1, 2))
    assert calls == [("before", 1), ("faulty", "failed"), ("after", 1), ("before", 2), ("after", 2)]
