"""What the live sessions of users are told: that they end, or that they may do something else."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse

from accounts import signals
from accounts.models import User
from realtime import CloseCode


@pytest.fixture
def group(user: User) -> Group:
    """A group with a permission, of which the user is a member."""
    group = Group.objects.create(name="traders")
    group.permissions.add(permission())
    user.groups.add(group)
    return group


def permission(codename: str = "add_user") -> Permission:
    return Permission.objects.get(codename=codename)


@pytest.mark.parametrize("by_query", [True, False])
def test_deleting_a_user_ends_live_sessions_on_commit(
    user: User, by_query: bool, disconnected: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    pk = user.pk
    with django_capture_on_commit_callbacks(execute=True):
        (User.objects.filter(pk=pk) if by_query else user).delete()
        assert disconnected == []
    assert disconnected == [{"user": pk, "sid": None, "code": CloseCode.REVOKED}]


ABOUT_THE_USER: list[Callable[[User, Group], Any]] = [
    lambda user, group: user.groups.remove(group),
    lambda user, group: user.groups.clear(),
    lambda user, group: user.groups.set([]),
    lambda user, group: user.groups.add(Group.objects.create(name="another")),
    lambda user, group: group.user_set.remove(user),
    lambda user, group: user.user_permissions.add(permission()),
    lambda user, group: permission().user_set.add(user),
    lambda user, group: group.permissions.add(permission("view_user")),
    lambda user, group: group.permissions.remove(permission()),
    lambda user, group: group.permissions.clear(),
    lambda user, group: permission().group_set.remove(group),
    lambda user, group: group.delete(),
    lambda user, group: Group.objects.filter(pk=group.pk).delete(),
    lambda user, group: permission().delete(),
]


@pytest.mark.parametrize("change", ABOUT_THE_USER, ids=range(len(ABOUT_THE_USER)))
def test_a_change_of_groups_or_permissions_is_announced_on_commit_for_whom_it_concerns(
    change: Any,
    user: User,
    group: Group,
    rechecked: list[Any],
    disconnected: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    User.objects.create_user("bystander")
    with django_capture_on_commit_callbacks(execute=True):
        change(user, group)
        assert rechecked == []
    assert rechecked == [{"users": [user.pk]}]
    assert disconnected == []


ABOUT_ANYBODY: list[Callable[[User, Group], Any]] = [
    lambda user, group: group.user_set.clear(),
    lambda user, group: permission().group_set.clear(),
]


@pytest.mark.parametrize("change", ABOUT_ANYBODY, ids=range(len(ABOUT_ANYBODY)))
def test_where_it_is_not_known_whom_it_concerns_all_are_looked_at(
    change: Any,
    user: User,
    group: Group,
    rechecked: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        change(user, group)
    assert rechecked == [{"users": None}]


def test_of_many_users_all_are_looked_at(
    user: User,
    group: Group,
    rechecked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    group.user_set.add(other := User.objects.create_user("grace"))
    monkeypatch.setattr(signals, "MAX_USERS", 2)
    with django_capture_on_commit_callbacks(execute=True):
        group.permissions.clear()
    (call,) = rechecked
    assert set(call["users"]) == {user.pk, other.pk}
    monkeypatch.setattr(signals, "MAX_USERS", 1)
    with django_capture_on_commit_callbacks(execute=True):
        group.permissions.add(permission())
    assert rechecked[1:] == [{"users": None}]


def test_what_changes_nothing_is_not_announced(
    user: User, group: Group, rechecked: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        user.groups.add(group)
        user.groups.set([group])
        Group.objects.create(name="empty").permissions.add(permission())
        user.email = "ada@example.org"
        user.save()
    assert rechecked == []


@pytest.mark.parametrize("field", ["is_staff", "is_superuser"])
@pytest.mark.parametrize("alone", [True, False])
def test_becoming_staff_or_a_superuser_and_its_end_are_announced(
    user: User,
    field: str,
    alone: bool,
    rechecked: list[Any],
    disconnected: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    for value in (True, False):
        setattr(user, field, value)
        with django_capture_on_commit_callbacks(execute=True):
            user.save(update_fields=[field] if alone else None)
    assert rechecked == [{"users": [user.pk]}] * 2
    assert disconnected == []
    assert User.objects.get(pk=user.pk).token_version == 0


def test_a_group_taken_away_and_a_deactivation_in_the_admin_are_announced(
    client: Client,
    user: User,
    group: Group,
    rechecked: list[Any],
    disconnected: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    client.force_login(User.objects.create_superuser("root", password="a good password"))
    form = {
        "username": "ada",
        "is_active": "on",
        "date_joined_0": "2030-01-01",
        "date_joined_1": "12:00:00",
    }
    url = reverse("admin:accounts_user_change", args=[user.pk])
    with django_capture_on_commit_callbacks(execute=True):
        assert client.post(url, form).status_code == 302
    assert not user.groups.exists()
    assert rechecked == [{"users": [user.pk]}]
    del form["is_active"]
    with django_capture_on_commit_callbacks(execute=True):
        assert client.post(url, form).status_code == 302
    assert disconnected == [{"user": user.pk, "sid": None, "code": CloseCode.REVOKED}]
