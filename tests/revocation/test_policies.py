"""A policy is the same over WebSocket, REST, history and presence; so is a personal topic."""

import asyncio
from typing import Any

import httpx
import pytest

from realtime.core.close_codes import CloseCode
from tests.revocation.conftest import Stage, User
from tests.revocation.settings import READ, WRITE
from tests.revocation.watchers import PATIENCE, Watcher, open_watcher, watch

DENIED, NOBODY = CloseCode.PERMISSION_DENIED, CloseCode.AUTHENTICATION_REQUIRED


async def call(stage: Stage, method: str, path: str, user: User | None, **body: Any) -> int:
    """The status of a request below `/api/topics/`."""
    headers = {"Authorization": f"Bearer {user.access}"} if user else {}
    url = f"{stage.servers[0].http}/api/topics/{path}"
    answer = await asyncio.to_thread(
        httpx.request, method, url, headers=headers, timeout=PATIENCE, **body
    )
    return answer.status_code


async def try_reading(stage: Stage, topic: str, user: User | None) -> list[int]:
    """What each way to read a topic answers: 101 where a session begins, or its close code; then
    the status of history and presence over REST."""
    codes = [await try_session(stage, f"{topic.replace(':', '/')}/", user)]
    codes.append(await call(stage, "GET", f"{topic}/publications/", user))
    codes.append(await call(stage, "GET", f"{topic}/presence/", user))
    return codes


async def try_publishing(stage: Stage, topic: str, user: User | None) -> list[int]:
    """The same for publishing: a session for that alone, and a request."""
    codes = [await try_session(stage, f"{topic.replace(':', '/')}/?subscribe=0", user)]
    path = f"{topic}/publications/"
    codes.append(await call(stage, "POST", path, user, json={"data": 1}))
    return codes


async def try_session(stage: Stage, path: str, user: User | None) -> int:
    server = stage.servers[0]
    async with open_watcher(server, path, user.access if user else None) as watcher:
        if user is None:
            await watcher.send({"type": "ping", "ref": 1})  # instead of a credential
        hello = asyncio.ensure_future(watcher.wait_for(type="hello"))
        closed = asyncio.ensure_future(watcher.wait_closed())
        done, pending = await asyncio.wait({hello, closed}, return_when="FIRST_COMPLETED")
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        return 101 if hello in done else closed.result()


async def test_a_permission_holds_wherever_a_topic_can_be_reached(stage: Stage) -> None:
    topic = f"crew:{stage.make_name()}"
    reader, writer = await stage.make_user(READ), await stage.make_user(WRITE)
    stranger = await stage.make_user(is_staff=True)
    assert await try_reading(stage, topic, reader) == [101, 200, 200]
    assert await try_publishing(stage, topic, reader) == [DENIED, 403]
    assert await try_reading(stage, topic, writer) == [DENIED, 403, 403]
    assert await try_publishing(stage, topic, writer) == [101, 201]
    for answers in (
        await try_reading(stage, topic, stranger) + await try_publishing(stage, topic, stranger),
    ):
        assert answers == [DENIED, 403, 403, DENIED, 403]
    assert await try_reading(stage, topic, None) == [NOBODY, 401, 401]
    assert await try_publishing(stage, topic, None) == [NOBODY, 401]


async def test_a_permission_holds_for_snapshots_of_statistics_too(stage: Stage) -> None:
    path = f"figures:{stage.make_name()}/stats/"
    reader, stranger = await stage.make_user(READ), await stage.make_user(WRITE)
    answers = [await call(stage, "GET", path, user) for user in (reader, stranger, None)]
    assert answers == [200, 403, 401]


async def test_who_only_publishes_asks_for_no_history_and_no_presence(stage: Stage) -> None:
    writer = await stage.make_user(WRITE)
    path = f"crew/{stage.make_name()}/?subscribe=0"
    async with watch(stage.servers, [path], writer.access) as watchers:
        for watcher in watchers:
            for message in ({"type": "history", "after": 0}, {"type": "presence"}):
                answer = await watcher.ask({**message, "ref": message["type"]})
                assert (answer["type"], answer["code"]) == ("error", "permission_denied")


@pytest.mark.parametrize("kind", ["judged", "awaited", "called", "wrapped"])
async def test_a_project_s_own_policy_holds_wherever_a_topic_can_be_reached(
    stage: Stage, kind: str
) -> None:
    topic = f"{kind}:{stage.make_name()}"
    allowed, refused = await stage.make_user(), await stage.make_user(is_superuser=True)
    await stage.run(f"(REFUSED / {refused.name!r}).touch()")
    presence = 200 if kind == "judged" else 400  # the others have none
    assert await try_reading(stage, topic, allowed) == [101, 200, presence]
    assert await try_reading(stage, topic, refused) == [DENIED, 403, 403]
    assert await try_reading(stage, topic, None) == [NOBODY, 401, 401]


@pytest.mark.parametrize("kind", ["open", "judged"])
async def test_a_personal_topic_is_that_user_s_alone(stage: Stage, kind: str) -> None:
    user = await stage.make_user()
    topic = f"{kind}:user.{user.pk}"
    assert await try_reading(stage, topic, user) == [101, 200, 200]
    assert await try_publishing(stage, topic, user) == [101, 201]
    others = [
        await stage.make_user(),
        await stage.make_user(is_staff=True, is_superuser=True),
    ]
    for other in others:
        assert await try_reading(stage, topic, other) == [DENIED, 403, 403]
        assert await try_publishing(stage, topic, other) == [DENIED, 403]
    assert await try_reading(stage, topic, None) == [NOBODY, 401, 401]
    assert await try_publishing(stage, topic, None) == [NOBODY, 401]


@pytest.mark.parametrize("name", ["user.", "user.0{}", "user.{}.x", "user.{}-"])
async def test_a_name_that_only_looks_like_one_s_own_is_nobody_s(stage: Stage, name: str) -> None:
    user = await stage.make_user()
    path = f"open/{name.format(user.pk)}/"
    code = await try_session(stage, path, user)
    assert code in (DENIED, CloseCode.UNKNOWN_TOPIC)


async def test_code_publishes_to_a_personal_topic_and_its_user_hears_it(stage: Stage) -> None:
    user = await stage.make_user()
    async with watch(stage.servers, [f"open/user.{user.pk}/"], user.access) as watchers:
        await stage.run(f"realtime.publish('open:user.{user.pk}', 'for you')")
        for watcher in watchers:
            await hear(watcher, "for you")


async def hear(watcher: Watcher, data: Any) -> None:
    message = await watcher.wait_for(type="publication")
    assert message["data"] == data
