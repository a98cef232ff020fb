"""What happens around a user besides being saved."""

from typing import Any

from django.db.models.signals import post_delete

from accounts.live_sessions import end_live_sessions
from accounts.models import User


def connect() -> None:
    """Connect this module's receivers; connecting twice is the same as once."""
    post_delete.connect(end_sessions_of_deleted_user, sender=User)


def end_sessions_of_deleted_user(*, instance: User, **_: Any) -> None:
    """A deleted user's live sessions end; a new password and deactivation: `User.save`."""
    end_live_sessions(user=instance.pk)
