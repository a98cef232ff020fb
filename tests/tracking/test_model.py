"""Whatever instances live through, in the end the database knows who is connected, and only that.

Random but repeatable histories: sessions begin and end, instances sleep past their lease, wake,
sweep each other, are killed and stop in order, while writes fail at any of their statements, or
have been done although they seem to have failed. Then all is quiet and every write succeeds.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now

from realtime.conf import build_settings
from realtime.core.close_codes import CloseCode
from realtime.models import Instance, Session
from realtime.sessions import Sessions
from realtime.tracking import Recorder
from realtime.tracking import recorder as recorder_module
from tests.sessions import StubSession

pytestmark = pytest.mark.django_db

STEPS = 60
INSTANCES = 3
WRITES = {"flush", "renew", "count", "stop"}
# Changes that an instance remembers while it cannot write.
MAX_WAITING = 6


class Trouble:
    """Makes one write fail: at a statement of it, or after all of them have been done."""

    def __init__(self) -> None:
        self.fails_at: int | None = None  # statements until then
        self.fails_after = False

    def arm(self, dice: random.Random) -> None:
        self.fails_at = dice.choice([None, 0, 0, 1, 2, 3, 4])
        self.fails_after = self.fails_at is None

    def disarm(self) -> None:
        self.fails_at, self.fails_after = None, False

    def execute(self, execute: Any, sql: str, *arguments: Any) -> Any:
        """In the place of each statement; those that begin and end transactions never fail."""
        if self.fails_at is not None and "SAVEPOINT" not in sql:
            if not self.fails_at:
                self.fails_at = None
                raise OperationalError("the database is away")
            self.fails_at -= 1
        return execute(sql, *arguments)

    def finish(self) -> None:
        """A write has been done."""
        if self.fails_after:
            self.fails_after = False
            raise OperationalError("the connection was lost before the answer came")


class Process:
    """One instance with its sessions; it does nothing by itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_asleep = False
        self.open: list[Any] = []
        self.noted: deque[Any] = deque(maxlen=MAX_WAITING)
        self._sessions = Sessions()
        self.recorder = Recorder(
            instance_id=name, version="1", settings=build_settings({}), sessions=self._sessions
        )

    def begin(self) -> None:
        session = StubSession().session
        self._sessions.enter(session)
        self._sessions.add(session)
        session.has_begun = True
        self.open.append(session)
        self.note(session)

    def end(self, dice: random.Random) -> None:
        if not self.open:
            return
        session = self.open.pop(dice.randrange(len(self.open)))
        self._sessions.remove(session)
        session.ended = time.time()
        session.close_code = dice.choice([CloseCode.NORMAL, CloseCode.REVOKED])
        self.note(session)

    def note(self, session: Any) -> None:
        if len(self.recorder._changes) == MAX_WAITING:
            self.lose_lease()  # the database is away for longer than that when so many wait
        self.recorder.note(session)
        self.noted.append(session)

    def lose_lease(self) -> None:
        Instance.objects.filter(pk=self.name, ended_at=None).update(
            lease_until=Now() - timedelta(seconds=1)
        )

    def write_counts(self) -> None:
        finish(self.recorder._write(self.recorder._save, list(self.open)))


def finish(operation: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing, without a loop: there the ORM would refuse."""
    try:
        operation.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trouble]:
    """Writes run right here, in the transaction of the test, and fail when they are told to."""
    trouble = Trouble()
    run_really = recorder_module._with_fresh_connection

    def run(operation: Callable[..., Any], *arguments: Any) -> Any:
        def operate() -> Any:
            result = operation(*arguments)
            trouble.finish()
            return result

        try:
            return run_really(operate)
        finally:
            # Of a statement by itself, which only this test puts into a transaction.
            connection.needs_rollback = False

    def stay_here(function: Any, **_: Any) -> Any:
        async def call(*arguments: Any) -> Any:
            return function(*arguments)

        return call

    monkeypatch.setattr(recorder_module, "sync_to_async", stay_here)
    # Nobody is cancelled here, and a shield would need a loop.
    monkeypatch.setattr(Recorder, "_write", Recorder._write_in_turn)
    monkeypatch.setattr(recorder_module, "_with_fresh_connection", run)
    # The connection is the test's.
    monkeypatch.setattr(recorder_module, "connections", SimpleNamespace(close_all=lambda: None))
    monkeypatch.setattr(recorder_module, "MAX_WAITING", MAX_WAITING)
    with connection.execute_wrapper(trouble.execute):
        yield trouble


class Story:
    """Instances, what has become of them, and what is expected of their rows."""

    def __init__(self, seed: int, trouble: Trouble) -> None:
        self.dice = random.Random(seed)
        self.trouble = trouble
        self.count = 0
        self.gone: list[Process] = []
        self.steps: list[str] = []
        self.epochs: dict[str, int] = {}
        self.processes = [self.start() for _ in range(INSTANCES)]

    def start(self) -> Process:
        self.count += 1
        return Process(f"i{self.count}")

    def step(self) -> None:
        dice = self.dice
        process = dice.choice(self.processes)
        what = dice.choice(
            [
                "sleep",
                "kill",
                "stop",
                "outage",
                *["begin", "end"] * 4,
                *["flush", "renew"] * 4,
                "count",
            ]
        )
        if process.is_asleep:
            process.is_asleep = dice.random() < 0.7
            what = "sleep on" if process.is_asleep else "wake"
        fails = dice.random() < 0.4 and what in WRITES
        self.steps.append(f"{process.name} {what}{' and fail' if fails else ''}")
        if fails:
            self.trouble.arm(dice)
        match what:
            case "begin":
                process.begin()
            case "end":
                process.end(dice)
            case "sleep":
                process.lose_lease()
                process.is_asleep = True
            case "kill" | "stop":
                if what == "stop":
                    finish(process.recorder.close())
                self.processes.remove(process)
                self.gone.append(process)
                self.processes.append(self.start())
            case "outage":  # more happens than an instance remembers
                for _ in range(2 * MAX_WAITING):
                    dice.choice([process.begin, lambda: process.end(dice)])()
            case "flush":
                finish(process.recorder.flush())
            case "renew":
                finish(process.recorder._renew())
            case "count":
                process.write_counts()
        self.trouble.disarm()
        self.check_epochs()

    def check_epochs(self) -> None:
        for name, epoch in Instance.objects.values_list("pk", "epoch"):
            assert epoch >= self.epochs.get(name, 0), (name, self.steps)
            self.epochs[name] = epoch

    def calm_down(self) -> None:
        """All are awake, what was killed runs out of its lease, and every write succeeds."""
        for process in self.gone:
            process.lose_lease()
        for _ in range(2):
            for process in self.processes:
                assert finish(process.recorder._renew())
                assert finish(process.recorder.flush())

    def check(self) -> None:
        rows = {str(row.pk): row for row in Session.objects.all()}
        connected = {session.id for process in self.processes for session in process.open}
        live = {str(pk) for pk in Session.objects.live().values_list("pk", flat=True)}
        assert live == connected, self.steps
        still_open = {key for key, row in rows.items() if row.closed_at is None}
        assert still_open == connected, self.steps
        for process in self.processes:
            # Of more than it remembers the oldest are given up; those ends have no code.
            for session in [session for session in process.noted if session.ended]:
                assert rows[session.id].close_code == session.close_code, self.steps
            alive = Instance.objects.get(pk=process.name)
            assert alive.ended_at is None, self.steps
            assert {rows[s.id].epoch for s in process.open} <= {alive.epoch}, self.steps
        ended = Instance.objects.filter(pk__in=[process.name for process in self.gone])
        assert all(row.ended_at is not None for row in ended), self.steps


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.usefixtures("trouble")
def test_what_happens_between_a_sweep_and_the_next_renewal_is_written_all_the_same(
    *, stops: bool
) -> None:
    process, other = Process("a"), Process("b")
    process.begin()
    assert finish(process.recorder.flush())
    process.lose_lease()
    assert finish(other.recorder._renew())  # which sweeps
    assert Session.objects.live().count() == 0
    (session,) = process.open
    session.messages_in = 3
    process.end(random.Random(1))
    process.begin()
    (passing,) = process.open
    process.end(random.Random(2))
    if stops:
        finish(process.recorder.close())
    else:
        assert not finish(process.recorder.flush())
        assert list(process.recorder._changes) == [session, passing, passing]
        assert finish(process.recorder._renew())
        assert finish(process.recorder.flush())
    rows = {str(row.pk): row for row in Session.objects.all()}
    assert rows[session.id].messages_in == 3
    for ended in (session, passing):
        assert rows[ended.id].close_code == ended.close_code
        assert rows[ended.id].closed_at is not None


@pytest.mark.parametrize("seed", range(60))
def test_when_all_is_quiet_the_live_sessions_are_those_that_are_open(
    seed: int, trouble: Trouble
) -> None:
    story = Story(seed, trouble)
    for _ in range(STEPS):
        story.step()
    story.calm_down()
    story.check()
