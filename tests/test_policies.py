"""Who may do what."""

from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group, Permission

from accounts.models import User
from realtime import policies
from realtime.conf import Policy, build_settings
from realtime.core.topics import Topic
from realtime.policies import Rights, decide, find_rights, is_allowed, is_open, is_permission

ANONYMOUS = None
USER = SimpleNamespace(pk=7, is_staff=False)
STAFF = SimpleNamespace(pk=8, is_staff=True)
LOBBY = Topic("broadcast", "lobby")
HERE = "tests.test_policies"
PERMISSION = "realtime.disconnect_session"

# From a thread, as a view has it: what runs in a thread then runs in this one.
allow = async_to_sync(is_allowed)

# Django looks after its connections around whatever runs in a thread.
pytestmark = pytest.mark.django_db


def may_if_seven(user: Any, topic: str) -> bool:
    """A project's policy that runs in a thread."""
    return user.pk == 7 and topic == "broadcast:lobby"


async def may_if_eight(user: Any, topic: str) -> bool:
    """A project's policy that is awaited."""
    return user.pk == 8 and topic == "broadcast:lobby"


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
