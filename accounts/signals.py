"""What happens around users besides their being saved: deletion, and what they may do."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db.models import Q
from django.db.models.signals import m2m_changed, post_delete, pre_delete

from accounts.live_sessions import end_live_sessions, recheck_live_sessions
from accounts.models import User

# Of more users than this all sessions are looked at, whoever they belong to.
MAX_USERS = 1000


def connect() -> None:
    """Connect this module's receivers; connecting twice is the same as once."""
    post_delete.connect(end_sessions_of_deleted_user, sender=User)
    m2m_changed.connect(recheck_members, sender=User.groups.through)
    m2m_changed.connect(recheck_members, sender=User.user_permissions.through)
    m2m_changed.connect(recheck_groups, sender=Group.permissions.through)
    # Before, since afterwards nobody knows who had it.
    pre_delete.connect(recheck_holders, sender=Group)
    pre_delete.connect(recheck_holders, sender=Permission)


def end_sessions_of_deleted_user(*, instance: User, **_: Any) -> None:
    """A deleted user's live sessions end; a new password and deactivation: `User.save`."""
    end_live_sessions(user=instance.pk, reason="the user was deleted")


def recheck_members(
    *, action: str, instance: Any, reverse: bool, pk_set: set[int] | None, **_: Any
) -> None:
    """Groups or permissions of users were changed, from either side."""
    if not _has_happened(action, pk_set):
        return
    if not reverse:
        recheck_live_sessions([instance.pk])
    elif pk_set is None:  # all of a group's users were taken out: who they were is gone
        recheck_live_sessions()
    else:
        _recheck(pk_set)


def recheck_groups(
    *, action: str, instance: Any, reverse: bool, pk_set: set[int] | None, **_: Any
) -> None:
    """Permissions of groups were changed, from either side."""
    if not _has_happened(action, pk_set):
        return
    if not reverse:
        _recheck_where(Q(groups=instance.pk))
    elif pk_set is None:
        recheck_live_sessions()
    else:
        _recheck_where(Q(groups__in=pk_set))


def recheck_holders(*, instance: Group | Permission, **_: Any) -> None:
    """A group or a permission is being deleted."""
    if isinstance(instance, Group):
        _recheck_where(Q(groups=instance))
    else:
        _recheck_where(Q(user_permissions=instance) | Q(groups__permissions=instance))


def _has_happened(action: str, pk_set: set[int] | None) -> bool:
    return action in ("post_add", "post_remove", "post_clear") and pk_set != set()


def _recheck_where(condition: Q) -> None:
    users = User.objects.filter(condition).order_by().values_list("pk", flat=True).distinct()
    _recheck(users[: MAX_USERS + 1])


def _recheck(users: Iterable[int]) -> None:
    known = list(users)
    if len(known) > MAX_USERS:
        recheck_live_sessions()
    elif known:
        recheck_live_sessions(known)
