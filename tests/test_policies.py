"""Who may do what."""

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.contrib.auth.models import Group, Permission

from accounts.models import User
from realtime import policies
from realtime.conf import Policy, build_settings
from realtime.core.errors import Unavailable
from realtime.core.topics import Topic
from realtime.policies import (
    Rights,
    ask,
    ask_in_view,
    decide,
    find_rights,
    is_open,
    is_permission,
)
from realtime.project_code import THREADS

ANONYMOUS = None
USER = SimpleNamespace(pk=7, is_staff=False)
STAFF = SimpleNamespace(pk=8, is_staff=True)
LOBBY = Topic("broadcast", "lobby")
HERE = "tests.test_policies"
PERMISSION = "realtime.disconnect_session"


def allow(policy: str, user: Any, topic: Topic | None = None) -> bool:
    """As a view asks: what runs in a thread then runs in this one, in the test's transaction."""
    decided = decide(policy, user, topic)
    return ask_in_view(policy, user, topic) if decided is None else decided


# Django looks after its connections around whatever runs in a thread.
pytestmark = pytest.mark.django_db


def may_if_seven(user: Any, topic: str) -> bool:
    """A project's policy that runs in a thread."""
    return user.pk == 7 and topic == "broadcast:lobby"


async def may_if_eight(user: Any, topic: str) -> bool:
    """A project's policy that is awaited."""
    return user.pk == 8 and topic == "broadcast:lobby"


test_is_over = threading.Event()


def wait_for_the_end_of_the_test(user: Any, topic: str) -> bool:
    return test_is_over.wait(30)


async def never_answer(user: Any, topic: str) -> bool:
    return await asyncio.Event().wait()


def be_stuck(user: Any, topic: str) -> bool:
    time.sleep(0.2)
    return True


def give_up(user: Any, topic: str) -> bool:
    raise TimeoutError("nobody answers elsewhere")


def fail(user: Any, topic: str) -> bool:
    raise RuntimeError("the project's own fault")


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        (Policy.ANYONE, [ANONYMOUS, USER, STAFF]),
        (Policy.AUTHENTICATED, [USER, STAFF]),
        (Policy.STAFF, [STAFF]),
        (f"{HERE}.may_if_seven", [USER]),
        (f"{HERE}.may_if_eight", [STAFF]),
    ],
)
def test_a_policy_lets_in_those_it_names(policy: str, allowed: list[object]) -> None:
    assert [u for u in (ANONYMOUS, USER, STAFF) if allow(policy, u, LOBBY)] == allowed


def test_nobody_is_asked_where_the_policy_is_a_word() -> None:
    assert all(decide(policy, STAFF, LOBBY) is True for policy in Policy)
    assert decide(f"{HERE}.may_if_seven", STAFF, LOBBY) is None


def test_a_callable_never_sees_an_anonymous_session() -> None:
    assert decide(f"{HERE}.fail", ANONYMOUS, LOBBY) is False


@pytest.mark.parametrize("policy", [*Policy, f"{HERE}.may_if_seven"])
def test_a_personal_topic_is_for_that_user_alone_whatever_the_policy(policy: str) -> None:
    theirs, own = Topic("broadcast", "user.70"), Topic("broadcast", f"user.{STAFF.pk}")
    for user in (ANONYMOUS, USER, STAFF):
        assert not allow(policy, user, theirs)
    assert not is_open(policy, own)
    assert allow(policy, STAFF, own) is (policy in list(Policy))  # the policy holds too


async def test_rights_ask_once_where_both_policies_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def note(policy: str, user: Any, topic: Any) -> bool:
        asked.append(policy)
        return policy == f"{HERE}.may_if_seven"

    monkeypatch.setattr(policies, "ask", note)
    seven, eight = f"{HERE}.may_if_seven", f"{HERE}.may_if_eight"
    options = build_settings(
        {
            "NAMESPACES": {
                "one": {"kind": "broadcast", "subscribe": seven, "publish": seven},
                "two": {"kind": "broadcast", "subscribe": seven, "publish": eight},
            }
        }
    )
    assert await find_rights(options.namespaces["one"], USER, LOBBY) == Rights(True, True)
    assert await find_rights(options.namespaces["two"], USER, LOBBY) == Rights(True, False)
    assert asked == [seven, seven, eight]


async def test_a_policy_that_is_slow_keeps_nobody_waiting_who_needs_a_thread() -> None:
    """Tokens are looked up in the one thread that everything else shares."""
    test_is_over.clear()
    asked = asyncio.create_task(ask(f"{HERE}.wait_for_the_end_of_the_test", USER, LOBBY))
    await asyncio.sleep(0.02)
    try:
        async with asyncio.timeout(8):
            assert await database_sync_to_async(lambda: "looked up")() == "looked up"
    finally:
        test_is_over.set()
    assert await asked


async def test_a_policy_that_is_slow_keeps_no_other_waiting() -> None:
    test_is_over.clear()
    slow = [
        asyncio.create_task(ask(f"{HERE}.wait_for_the_end_of_the_test", USER, LOBBY))
        for _ in range(2 * THREADS)
    ]
    await asyncio.sleep(0.02)
    try:
        async with asyncio.timeout(8):
            assert await ask(f"{HERE}.may_if_seven", USER, LOBBY)
    finally:
        test_is_over.set()
    assert all(await asyncio.gather(*slow))


@pytest.mark.parametrize("name", ["never_answer", "be_stuck"])
async def test_a_policy_that_does_not_answer_in_time_is_unavailable(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "ANSWER_SECONDS", 0.05)
    with pytest.raises(Unavailable):
        await ask(f"{HERE}.{name}", USER, LOBBY)


async def test_a_time_limit_of_the_callable_s_own_is_its_own() -> None:
    with pytest.raises(TimeoutError, match="elsewhere"):
        await ask(f"{HERE}.give_up", USER, LOBBY)


def test_what_a_callable_raises_is_not_taken_for_an_answer() -> None:
    with pytest.raises(RuntimeError, match="own fault"):
        allow(f"{HERE}.fail", USER, LOBBY)


def test_a_permission_is_of_an_installed_app_and_has_one_dot() -> None:
    assert is_permission(PERMISSION)
    assert not is_permission("elsewhere.may_read")
    assert not is_permission("realtime.policies.is_open")


def test_a_permission_comes_from_the_user_or_a_group() -> None:
    permission = Permission.objects.get(codename="disconnect_session")
    group = Group.objects.create(name="on call")
    group.permissions.add(permission)
    names = ("anna", "ben", "carl")
    anna, ben, carl = [User.objects.create(username=name) for name in names]
    anna.user_permissions.add(permission)
    ben.groups.add(group)
    root = User.objects.create(username="root", is_superuser=True)
    users = (ANONYMOUS, anna, ben, carl, root)
    assert [u for u in users if allow(PERMISSION, u, LOBBY)] == [anna, ben, root]
