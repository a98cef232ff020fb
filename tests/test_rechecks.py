"""Whether those who are connected may still be."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError

from accounts.models import User
from realtime import rechecks as rechecks_module
from realtime.conf import build_settings
from realtime.core.close_codes import CloseCode
from realtime.core.identity import Identity
from realtime.rechecks import Rechecks, reload_users
from realtime.sessions import Sessions
from tests.sessions import StubSession, build_identity
from tests.virtual_time import virtual_time as virtual_time

pytestmark = pytest.mark.usefixtures("virtual_time")

Answer = Callable[[Identity], Identity | None]


class Stage:
    """Sessions, and a loader that notes what it was asked and answers as told, after `delay` s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, seconds: float = 60) -> None:
        self.asked: list[list[Identity]] = []
        self.answer: Answer = lambda identity: identity
        self.delay = 0.0
        self.error: Exception | None = None
        self.sessions = Sessions()
        monkeypatch.setattr(rechecks_module, "find_loader", lambda _: self.load)
        monkeypatch.setattr(rechecks_module, "close_old_connections", lambda: None)
        monkeypatch.setattr(rechecks_module, "sync_to_async", self._stay_here)
        settings = build_settings({"RECHECK_SECONDS": seconds})
        self.rechecks = Rechecks(settings=settings, sessions=self.sessions)

    def load(self, identities: Sequence[Identity]) -> list[Identity | None]:
        self.asked.append(list(identities))
        if self.error is not None:
            raise self.error
        return [self.answer(identity) for identity in identities]

    def open(
        self, user: int | None, *, sid: str = "s", topic: str = "broadcast:lobby"
    ) -> StubSession:
        identity = None if user is None else build_identity(user, sid=sid)
        stub = StubSession(topic, identity=identity)
        self.sessions.add(stub.session)
        return stub

    def _stay_here(self, function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        """In the place of a thread, which virtual time would not wait for."""

        async def call(*arguments: Any) -> Any:
            delay, result = self.delay, function(*arguments)
            await asyncio.sleep(delay)
            return result

        return call

    @asynccontextmanager
    async def running(self) -> AsyncIterator["asyncio.Task[None]"]:
        task = asyncio.create_task(self.rechecks.run_forever())
        yield task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def wait_asked(self, count: int) -> None:
        async with asyncio.timeout(3):
            while len(self.asked) < count:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.02)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


async def test_those_asked_for_are_looked_at_and_nobody_else(stage: Stage) -> None:
    one, other, anonymous = stage.open(1), stage.open(2), stage.open(None)
    await stage.rechecks.recheck({"1"})
    assert [len(stub.checked) for stub in (one, other, anonymous)] == [1, 0, 0]
    await stage.rechecks.recheck(None)
    assert [len(stub.checked) for stub in (one, other, anonymous)] == [2, 1, 0]
    assert not one.codes + other.codes + anonymous.codes


async def test_a_sign_in_is_read_once_for_all_its_sessions(stage: Stage) -> None:
    tabs = [stage.open(1) for _ in range(5)]
    stage.open(1, sid="another")
    await stage.rechecks.recheck(None)
    assert [len(page) for page in stage.asked] == [2]
    assert all(len(tab.checked) == 1 for tab in tabs)


async def test_who_is_gone_is_ended_as_revoked(stage: Stage) -> None:
    one, other = stage.open(1), stage.open(2)
    stage.answer = lambda identity: None if identity.user.pk == 1 else identity
    await stage.rechecks.recheck(None)
    assert (one.codes, one.checked) == ([CloseCode.REVOKED], [])
    assert (other.codes, len(other.checked)) == ([], 1)


async def test_a_session_that_got_a_new_token_meanwhile_is_left_alone(stage: Stage) -> None:
    stub = stage.open(1)

    def refresh(identity: Identity) -> None:
        stub.session.identity = build_identity(1, sid="newer")

    stage.answer = refresh
    await stage.rechecks.recheck(None)
    assert (stub.codes, stub.checked) == ([], [])


async def test_a_failing_check_of_one_session_leaves_the_others_checked(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stubs = [stage.open(number) for number in range(3)]

    async def fail(identity: Identity) -> None:
        raise RuntimeError("a policy of the project")

    stubs[0].session.recheck = fail
    await stage.rechecks.recheck(None)
    assert [len(stub.checked) for stub in stubs] == [0, 1, 1]
    assert "could not be checked" in caplog.text


async def test_without_a_database_nobody_is_ended(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stub = stage.open(1)
    stage.error = OperationalError("away")
    with caplog.at_level(logging.ERROR):
        await stage.rechecks.recheck(None)
    assert (stub.codes, stub.checked) == ([], [])
    assert "could not be checked now: away" in caplog.text


async def test_changes_that_come_together_are_dealt_with_together(stage: Stage) -> None:
    stubs = [stage.open(number) for number in (1, 2, 3)]
    async with stage.running():
        for user in ("1", "2", "1"):
            stage.rechecks.ask({user})
        await stage.wait_asked(1)
        assert [len(stub.checked) for stub in stubs] == [1, 1, 0]
        stage.rechecks.ask(None)
        await stage.wait_asked(2)
    assert [len(stub.checked) for stub in stubs] == [2, 2, 1]
    assert len(stage.asked) == 2


async def test_everybody_is_looked_at_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, seconds=0.1)
    stage.open(1)
    async with stage.running():
        await stage.wait_asked(3)


async def test_what_was_asked_during_a_handshake_concerns_the_session_too(stage: Stage) -> None:
    began = time.monotonic()
    stage.rechecks.ask({"1"})
    during = StubSession(identity=build_identity(1), handshake_began=began)
    after = StubSession(identity=build_identity(1), handshake_began=time.monotonic() + 1)
    other = StubSession(identity=build_identity(2), handshake_began=began)
    async with stage.running():
        await asyncio.sleep(0.1)  # it found nobody
        for stub in (during, after, other):
            stage.sessions.add(stub.session)
            stage.rechecks.check_new(stub.session)
        await stage.wait_asked(1)
    assert [len(stub.checked) for stub in (during, other)] == [1, 0]


async def test_a_look_that_comes_later_is_not_undone_by_a_slower_one(stage: Stage) -> None:
    stub = stage.open(1)
    older = build_identity(1)
    stage.answer, stage.delay = lambda identity: older, 0.1
    slower = asyncio.create_task(stage.rechecks.recheck({"1"}))
    await asyncio.sleep(0.02)  # it has asked the database, which takes a while
    stage.answer, stage.delay = lambda identity: identity, 0
    await stage.rechecks.recheck({"1"})
    await slower
    assert len(stage.asked) == 2
    assert older not in stub.checked


async def test_a_loader_that_fails_ends_neither_sessions_nor_later_looks(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stub = stage.open(1)
    async with stage.running():
        stage.error = RuntimeError("the project's own loader")
        stage.rechecks.ask({"1"})
        await stage.wait_asked(1)
        assert (stub.codes, stub.checked) == ([], [])
        stage.error = None
        stage.rechecks.ask({"1"})
        await stage.wait_asked(2)
        assert len(stub.checked) == 1
    assert "sessions could not be checked" in caplog.text


@pytest.mark.parametrize(
    "answer", [True, SimpleNamespace(user=SimpleNamespace(pk=1)), Identity(None, "s", 2e9)]
)
async def test_an_answer_that_is_no_identity_ends_nobody_and_the_others_are_checked(
    stage: Stage, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    odd, gone, good = (stage.open(number) for number in (1, 2, 3))
    answers: dict[int, Any] = {1: answer, 2: None}
    stage.answer = lambda identity: answers.get(identity.user.pk, identity)
    async with stage.running() as task:
        stage.rechecks.ask(None)
        await stage.wait_asked(1)
        assert (odd.codes, odd.checked) == ([], [])
        assert gone.codes == [CloseCode.REVOKED]
        assert len(good.checked) == 1
        assert "for 1 of 3" in caplog.text
        del answers[1]
        stage.rechecks.ask(None)
        await stage.wait_asked(2)
        assert len(odd.checked) == 1
        assert not task.done()


async def test_a_page_that_cannot_be_read_leaves_the_next_ones_checked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rechecks_module, "PAGE_SIZE", 1)
    stubs = [stage.open(number) for number in (1, 2)]

    def answer(identity: Identity) -> Identity:
        if identity.user.pk == 1:
            raise RuntimeError("a row that the project's own loader cannot read")
        return identity

    stage.answer = answer
    await stage.rechecks.recheck(None)
    assert [len(stub.checked) for stub in stubs] == [0, 1]


async def test_a_look_that_fails_ends_no_other_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(monkeypatch, seconds=0.5)
    stub = stage.open(1)

    def fail(code: CloseCode, reason: str) -> None:
        raise RuntimeError("a fault of ours")

    stub.session.close, close = fail, stub.session.close
    stage.answer = lambda identity: None
    async with stage.running() as task:
        stage.rechecks.ask({"1"})
        await stage.wait_asked(1)
        assert "sessions could not be checked" in caplog.text
        assert not task.done()
        stub.session.close = close
        await stage.wait_asked(2)  # the sweep
        assert stub.codes == [CloseCode.REVOKED]


async def test_where_it_runs_again_everybody_is_looked_at_soon(stage: Stage) -> None:
    stage.open(1)
    async with stage.running():
        await asyncio.sleep(0)
    assert not stage.asked
    async with stage.running():
        await asyncio.sleep(1)
        assert len(stage.asked) == 1


async def test_a_policy_that_never_answers_holds_up_no_other_look(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rechecks_module, "ANSWER_SECONDS", 0.3)
    stuck, other = stage.open(1), stage.open(2)

    async def wait(identity: Identity) -> None:
        await asyncio.Event().wait()

    stuck.session.recheck = wait
    async with stage.running():
        stage.rechecks.ask({"1"})
        await stage.wait_asked(1)
        stage.rechecks.ask({"2"})
        await stage.wait_asked(2)
        assert len(other.checked) == 1
        assert "could not be checked" not in caplog.text
        await asyncio.sleep(0.4)
        assert "could not be checked" in caplog.text


async def test_a_policy_that_never_answers_keeps_nobody_who_is_gone_nor_another_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More such sessions than are asked together, and they came first."""
    monkeypatch.setattr(rechecks_module, "ANSWER_SECONDS", 0.05)
    stage = Stage(monkeypatch, seconds=0.05)
    stuck = [stage.open(1, topic="slow:x") for _ in range(30 * rechecks_module.TOGETHER)]
    for stub in stuck:
        stub.session.recheck = wait_for_ever
    gone, other = stage.open(2, topic="slow:x"), stage.open(3)
    async with stage.running():
        await stage.wait_asked(2)
        assert len(other.checked) >= 1
        stage.answer = lambda identity: None if identity.user.pk == 2 else identity
        await stage.wait_asked(len(stage.asked) + 2)
        assert gone.codes[:1] == [CloseCode.REVOKED]
        assert len(stage.rechecks._busy) == 1


async def wait_for_ever(identity: Identity) -> None:
    await asyncio.Event().wait()


async def test_everybody_is_looked_at_again_where_a_look_passed_over_a_namespace(
    stage: Stage,
) -> None:
    stub = stage.open(1)
    answered = asyncio.Event()
    checked = []

    async def check(identity: Identity) -> None:
        checked.append(identity)
        await answered.wait()

    stub.session.recheck = check
    async with stage.running():
        first = asyncio.create_task(stage.rechecks.recheck(None))
        await stage.wait_asked(1)
        stage.rechecks.ask(None)
        await stage.wait_asked(2)
        assert len(checked) == 1
        answered.set()
        await first
        await stage.wait_asked(3)
        assert len(checked) == 2


@pytest.mark.django_db
def test_without_a_loader_of_the_project_users_have_to_exist_and_be_active(
    django_assert_num_queries: Callable[..., object],
) -> None:
    users = [User.objects.create(username=name) for name in ("anna", "ben", "carl")]
    identities = [Identity(user, "s", 1.0) for user in users]
    User.objects.filter(username="ben").update(is_active=False)
    User.objects.filter(username="carl").delete()
    User.objects.filter(username="anna").update(is_staff=True)
    with django_assert_num_queries(1):  # type: ignore[attr-defined]
        anna, *gone = reload_users(identities)
    assert anna is not None
    assert anna.user.is_staff
    assert gone == [None, None]
