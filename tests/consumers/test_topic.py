"""The course of a session on a topic, in a runtime of its own, without a server."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from realtime.conf import get_settings
from realtime.consumers import topic as topic_module
from realtime.consumers.broadcast import BroadcastConsumer
from realtime.consumers.stats import StatsConsumer
from realtime.core.close_codes import CloseCode
from realtime.core.errors import Unavailable
from realtime.core.identity import Identity
from realtime.frames import frame_text
from realtime.outbox import ABORT_DELAY
from realtime.runtime import Runtime
from realtime.sessions import Session
from realtime.subscriptions import Subscription
from tests.virtual_time import virtual_time as virtual_time

pytestmark = pytest.mark.usefixtures("virtual_time")
USER = SimpleNamespace(pk=7, is_staff=False, is_active=True, get_username=lambda: "user")


class Stage:
    """One session on `broadcast:x` (or another topic), and what its client gets."""

    def __init__(
        self, consumer: type[BroadcastConsumer | StatsConsumer] = BroadcastConsumer
    ) -> None:
        self.runtime = Runtime(has_sessions=False)
        self.consumer = consumer()
        self.namespace = "broadcast" if consumer is BroadcastConsumer else "stats"
        self.sent: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.pace = 0.0  # how long the server takes for an event, in seconds
        self._events: asyncio.Queue[Any] = asyncio.Queue()

    async def start(self, *, seconds: float = 1000) -> None:
        """Connect, with a token that is good for so long."""
        self.identity = Identity(USER, "sign-in", time.time() + seconds)

        async def identify() -> Identity:
            return self.identity

        async def authenticate(token: str) -> Identity:
            return Identity(USER, "another", time.time() + float(token))

        scope = {
            "type": "websocket",
            "path": f"/ws/{self.namespace}/x/",
            "query_string": b"",
            "headers": [],
            "url_route": {"kwargs": {"namespace": self.namespace, "name": "x"}},
            "realtime.began": time.monotonic(),
            "identify": identify,
            "authenticate": authenticate,
        }
        self._events.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(self.consumer(scope, self._events.get, self._send))
        await settle()

    @property
    def session(self) -> Session:
        return self.consumer.session

    @property
    def codes(self) -> list[int]:
        """Those that it was closed with, as daphne sends them."""
        return [event["code"] for event in self.sent if event["type"] == "websocket.close"]

    @property
    def messages(self) -> list[Any]:
        return [json.loads(event["text"]) for event in self.sent if "text" in event]

    async def say(self, **message: Any) -> None:
        self._events.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})
        await settle()

    async def leave(self) -> None:
        """The server tells of the end, and the session has to end without an error."""
        self._events.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await self.task

    async def _send(self, event: Any) -> None:
        await self.gate.wait()
        if self.pace:
            await asyncio.sleep(self.pace)
        self.sent.append(event)


async def settle() -> None:
    """Let everything happen that takes no time."""
    await asyncio.sleep(0.01)


def count_ended(code: CloseCode, namespace: str = "broadcast") -> float:
    labels = {"namespace": namespace, "code": str(int(code))}
    return REGISTRY.get_sample_value("realtime_sessions_ended_total", labels) or 0.0


@pytest.fixture
async def stages(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Makes stages, and puts their runtimes away."""
    made: list[Stage] = []

    def make(*options: Any) -> Stage:
        stage = Stage(*options)
        monkeypatch.setattr("realtime.consumers.base.get_server_runtime", lambda: stage.runtime)
        made.append(stage)
        return stage

    yield make
    for stage in made:
        stage.task.cancel()
        await asyncio.gather(stage.task, return_exceptions=True)


# Ended while it begins


@pytest.mark.parametrize("code", [CloseCode.SERVICE_RESTART, CloseCode.REVOKED])
@pytest.mark.parametrize("step", ["hold", "open_topic", "find_start"])
@pytest.mark.parametrize("consumer", [BroadcastConsumer, StatsConsumer])
async def test_a_session_that_is_ended_while_it_begins_ends_with_that_code_and_holds_nothing(
    stages: Any, monkeypatch: pytest.MonkeyPatch, consumer: Any, step: str, code: CloseCode
) -> None:
    stage: Stage = stages(consumer)
    owner: Any = {"hold": stage.runtime.hub, "open_topic": consumer, "find_start": topic_module}[
        step
    ]
    real, gate = getattr(owner, step), asyncio.Event()

    async def wait(*arguments: Any, **options: Any) -> Any:
        await gate.wait()
        return await real(*arguments, **options)

    monkeypatch.setattr(owner, step, wait)
    before = count_ended(code, stage.namespace)
    await stage.start()
    stage.session.close(code, "")
    gate.set()
    await settle()
    assert not stage.task.done()
    await stage.leave()
    assert stage.messages == []
    assert stage.codes == [code if code > 3000 else code + 2000]
    assert stage.session.close_code == code
    assert count_ended(code, stage.namespace) == before + 1
    for held in stage.runtime.hub._topics.values():
        assert held._holders == 0
        assert not getattr(held.followers.statistics, "windows", None)


# Ended while nothing is read


async def test_a_session_whose_client_does_not_read_ends_and_keeps_the_code_of_its_end(
    stages: Any,
) -> None:
    stage: Stage = stages()
    await stage.start()
    stage.gate.clear()
    await stage.say(type="ping")
    before = count_ended(CloseCode.TOKEN_EXPIRED)
    stage.session.close(CloseCode.TOKEN_EXPIRED, "token expired")
    await asyncio.sleep(get_settings().stall_timeout - 1)
    assert not stage.task.done()
    await asyncio.sleep(2)
    assert stage.task.cancelled()
    assert stage.session.close_code == CloseCode.TOKEN_EXPIRED
    assert count_ended(CloseCode.TOKEN_EXPIRED) == before + 1


async def test_who_is_out_gets_nothing_more_though_the_session_was_ending_already(
    stages: Any,
) -> None:
    stage: Stage = stages()
    await stage.start()
    stage.gate.clear()
    for number in range(3):
        await stage.say(type="ping", ref=number)
    count = len(stage.messages)
    stage.session.close(CloseCode.TOKEN_EXPIRED, "token expired")
    stage.session.close(CloseCode.REVOKED, "revoked")
    stage.gate.set()
    await settle()
    await stage.leave()
    assert [message["ref"] for message in stage.messages[count:]] == [0]  # it was on its way
    assert stage.codes == [4001]
    assert stage.session.close_code == CloseCode.TOKEN_EXPIRED


async def test_a_session_that_is_found_slow_while_it_ends_is_cut_with_the_code_of_its_end(
    stages: Any,
) -> None:
    stage: Stage = stages()
    await stage.start()
    stage.gate.clear()
    await stage.say(type="ping")
    stage.session.close(CloseCode.TOKEN_EXPIRED, "token expired")
    stage.consumer._end_slow()
    await asyncio.sleep(ABORT_DELAY + 1)
    assert stage.task.cancelled()
    assert stage.session.close_code == CloseCode.TOKEN_EXPIRED


# A subscription that fails


async def test_a_subscription_that_fails_ends_its_session_with_1011_and_a_traceback(
    stages: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: Subscription) -> None:
        await asyncio.sleep(1)
        raise ZeroDivisionError("the subscription's own")

    monkeypatch.setattr(Subscription, "follow", fail)
    stage: Stage = stages()
    await stage.start()
    assert stage.messages[-1]["type"] == "subscribed"
    with caplog.at_level(logging.ERROR):
        await asyncio.sleep(2)
    assert stage.codes == [3011]
    assert "ZeroDivisionError: the subscription's own" in caplog.text
    assert "Traceback" in caplog.text
    await stage.leave()
    assert stage.session.close_code == CloseCode.INTERNAL_ERROR


# Refresh


async def test_a_refresh_moves_the_end_only_where_its_answer_says_so(
    stages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    grace = get_settings().expiry_grace

    async def fail(*_: Any) -> Any:
        raise Unavailable("the policy does not answer")

    stage: Stage = stages()
    await stage.start(seconds=100)
    await stage.say(type="refresh", token="200", ref=1)
    assert stage.messages[-1]["type"] == "refreshed"
    monkeypatch.setattr(topic_module.policies, "find_rights", fail)
    await stage.say(type="refresh", token="1000", ref=2)
    assert (stage.messages[-1]["code"], stage.messages[-1]["ref"]) == ("unavailable", 2)
    await asyncio.sleep(200 + grace - 10)
    assert stage.codes == []
    await asyncio.sleep(20)
    assert stage.codes == [4001]


# Answers


async def test_a_question_is_answered_also_where_something_new_is_always_there(
    stages: Any,
) -> None:
    stage: Stage = stages()
    await stage.start()
    outbox, frames = stage.consumer.outbox, frame_text('{"type": "publication"}')
    outbox.on_empty = lambda: outbox.put(frames)
    stage.pace = 1
    outbox.put(frames)
    await stage.say(type="history", ref=1, after=0)
    await asyncio.sleep(5)
    assert [m["type"] for m in stage.messages[2:5]] == ["publication", "history", "publication"]
