"""Rights that are lost: 4503 on the topics that ask for them, on every instance."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from realtime.core.close_codes import CloseCode
from tests.revocation.conftest import Stage
from tests.revocation.scenes import LIMIT, change
from tests.revocation.settings import READ, WRITE
from tests.revocation.watchers import Watcher, watch

Report = Callable[[str], None]
DENIED = CloseCode.PERMISSION_DENIED
GROUP = "Group.objects.get(name={group!r})"
READING = f"find_permissions({READ!r})"

BY_GROUP = {
    "taken out of the group": f"get({{name!r}}).groups.remove({GROUP})",
    "taken out of all groups": "get({name!r}).groups.clear()",
    "given other groups": "get({name!r}).groups.set([])",
    "taken out, seen from the group": f"{GROUP}.user_set.remove(get({{name!r}}))",
    "everybody taken out, seen from the group": f"{GROUP}.user_set.clear()",
    "the group's permission removed": f"{GROUP}.permissions.remove(*{READING})",
    "the group's permissions cleared": f"{GROUP}.permissions.clear()",
    "the group's permissions set": f"{GROUP}.permissions.set(find_permissions({WRITE!r}))",
    "removed, seen from the permission": f"{READING}[0].group_set.remove({GROUP})",
    "the group deleted": f"{GROUP}.delete()",
    "the group deleted by a query set": "Group.objects.filter(name={group!r}).delete()",
}
BY_USER = {
    "removed": f"get({{name!r}}).user_permissions.remove(*{READING})",
    "cleared": "get({name!r}).user_permissions.clear()",
    "removed, seen from the permission": f"{READING}[0].user_set.remove(get({{name!r}}))",
}


@pytest.mark.parametrize("cause", BY_GROUP)
async def test_a_permission_lost_with_a_group_ends_the_topics_that_want_it(
    stage: Stage, report: Report, cause: str
) -> None:
    group = stage.make_name()
    await stage.run(f"make_group({group!r}, {READ!r})")
    user = await stage.make_user(group=group)
    text = BY_GROUP[cause].format(name=user.name, group=group)
    spares = [f"open/{stage.make_name()}/", "echo/"]
    report(str(await change(stage, user, text, DENIED, spares=spares)))


@pytest.mark.parametrize("cause", BY_USER)
async def test_a_permission_taken_from_the_user_ends_them_too(
    stage: Stage, report: Report, cause: str
) -> None:
    user = await stage.make_user(READ)
    text = BY_USER[cause].format(name=user.name)
    report(str(await change(stage, user, text, DENIED, spares=["echo/"])))


async def test_who_is_no_superuser_any_more_has_lost_every_permission(
    stage: Stage, report: Report
) -> None:
    user = await stage.make_user(is_superuser=True)
    text = f"change({user.name!r}, is_superuser=False)"
    report(str(await change(stage, user, text, DENIED, spares=["echo/"])))


async def test_who_is_no_longer_staff_leaves_their_topics(stage: Stage, report: Report) -> None:
    user = await stage.make_user(is_staff=True)
    text = f"change({user.name!r}, is_staff=False)"
    kinds, spares = ("office",), ["echo/"]
    report(str(await change(stage, user, text, DENIED, kinds=kinds, spares=spares)))


@pytest.mark.parametrize("kind", ["judged", "awaited"])
@pytest.mark.parametrize("call", ["users=[get({name!r})]", "users=[{pk}]", ""])
async def test_a_project_s_own_policy_is_asked_again_when_the_project_says_so(
    stage: Stage, report: Report, kind: str, call: str
) -> None:
    user = await stage.make_user()
    text = (
        f"(REFUSED / {user.name!r}).touch()\n"
        f"realtime.recheck({call.format(name=user.name, pk=user.pk)})"
    )
    kinds, spares = (kind,), ["echo/"]
    report(str(await change(stage, user, text, DENIED, kinds=kinds, spares=spares)))


async def test_who_loses_the_right_to_publish_alone_stays_and_is_told_at_each_publish(
    stage: Stage,
) -> None:
    user = await stage.make_user(READ, WRITE)
    path = f"crew/{stage.make_name()}/"
    publisher = f"{path}?subscribe=0"
    async with watch(stage.servers, [path, publisher], user.access) as watchers:
        reading = [watcher for watcher in watchers if watcher.path == path]
        for number, watcher in enumerate(watchers):
            answer = await watcher.ask({"type": "publish", "data": number, "ref": number})
            assert answer["type"] == "ack"
        await stage.run(f"get({user.name!r}).user_permissions.remove(*find_permissions({WRITE!r}))")
        for watcher in watchers:
            if watcher not in reading:
                assert await watcher.wait_closed() == DENIED
        count = len(watchers)
        for watcher in reading:  # each session is looked at by itself
            answers = await publish_until(watcher, "error")
            assert answers[-1]["code"] == "permission_denied"
            count += len(answers) - 1
        for watcher in reading:
            await watcher.wait_count(count)
            await watcher.check_alive()
            assert watcher.offsets == list(range(1, count + 1))


async def test_a_right_that_is_given_back_is_there_without_a_new_connection(stage: Stage) -> None:
    user = await stage.make_user(READ)
    path = f"crew/{stage.make_name()}/"
    async with watch(stage.servers, [path], user.access) as watchers:
        for watcher in watchers:
            answer = await watcher.ask({"type": "publish", "data": 1, "ref": "before"})
            assert answer["code"] == "permission_denied"
        await stage.run(f"get({user.name!r}).user_permissions.add(*find_permissions({WRITE!r}))")
        for watcher in watchers:
            await publish_until(watcher, "ack")


async def publish_until(watcher: Watcher, type: str) -> list[dict[str, Any]]:
    """Publish until the answer is of that type, within the limit; returns all answers."""
    answers: list[dict[str, Any]] = []
    async with asyncio.timeout(LIMIT):
        while not answers or answers[-1]["type"] != type:
            message = {"type": "publish", "data": 1, "ref": f"attempt {len(answers)}"}
            answers.append(await watcher.ask(message))
            await asyncio.sleep(0.02)
    return answers
