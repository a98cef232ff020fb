"""Deletion of users."""

from typing import Any

from accounts.models import User
from realtime import CloseCode


def test_deleting_a_user_ends_live_sessions_on_commit(
    user: User, disconnected: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    pk = user.pk
    with django_capture_on_commit_callbacks(execute=True):
        User.objects.filter(pk=pk).delete()
        assert disconnected == []
    assert disconnected == [{"user": pk, "sid": None, "code": CloseCode.REVOKED}]
