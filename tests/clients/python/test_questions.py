"""Questions wait for a connection that works."""

import asyncio
import itertools
import json
from typing import Any

from realtime_client import ConnectionLost
from realtime_client.messages import Pong
from realtime_client.parsing import parse_message
from realtime_client.questions import Questions


class DeadLink:
    """It is closed, but its reader has not noticed; sending fails at once."""

    def __init__(self) -> None:
        self.sent = 0

    async def send(self, message: str) -> None:
        self.sent += 1
        assert self.sent < 5
        raise ConnectionLost(1006)


class GoodLink:
    """Answers each question."""

    def __init__(self, questions: Questions) -> None:
        self.questions = questions

    async def send(self, message: str) -> None:
        ref = json.loads(message)["ref"]
        pong = {"type": "pong", "ref": ref, "server_time": "2026-11-24T07:45:27.643254Z"}
        answer = parse_message(json.dumps(pong))
        assert isinstance(answer, Pong)
        self.questions.take(answer)


async def test_a_question_is_asked_once_on_a_dead_connection_and_again_on_the_next() -> None:
    questions = Questions(next_ref=itertools.count(1).__next__, on_begin=lambda: None)
    dead: Any = DeadLink()
    questions.connect(dead)
    asking = asyncio.create_task(questions.ask({"type": "ping"}, timeout=30))
    for _ in range(20):
        await asyncio.sleep(0)
    assert (dead.sent, asking.done()) == (1, False)
    good: Any = GoodLink(questions)
    questions.connect(good)
    assert isinstance(await asking, Pong)
    assert not questions.is_waiting
