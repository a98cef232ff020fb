"""What ends live sessions where users of Django sign in by its sessions: sign-out, a new password.

Each is announced when the transaction around it commits. What nobody announces here, such as
`clearsessions` or `QuerySet.update()`, the next look at everybody finds (RECHECK_SECONDS).
"""

from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_out
from django.db.models.signals import post_delete, post_save

from realtime.conf import get_settings
from realtime.control import disconnect, recheck
from realtime.core.close_codes import CloseCode
from realtime.django_sessions import name_session


def connect() -> None:
    """Connect this module's receivers; connecting twice is the same as once."""
    user_logged_out.connect(end_signed_out, dispatch_uid="realtime.endings")
    post_save.connect(
        look_at_saved, sender=settings.AUTH_USER_MODEL, dispatch_uid="realtime.endings"
    )
    post_delete.connect(
        end_deleted, sender=settings.AUTH_USER_MODEL, dispatch_uid="realtime.endings"
    )


def end_signed_out(*, request: Any, user: Any, **_: Any) -> None:
    """`django.contrib.auth.logout()`: what rests on that session ends."""
    key = getattr(getattr(request, "session", None), "session_key", None)
    if not key or user is None:
        return
    sid, name = name_session(key), user.get_username()
    disconnect(sid=sid, code=CloseCode.REVOKED, by=name, reason="sign-out", on_commit=True)
    # The session is deleted a moment after this signal: a handshake between the two is found so.
    recheck(users=[user], by=name, reason="sign-out", on_commit=True)


def look_at_saved(*, instance: Any, created: bool, update_fields: Any, **_: Any) -> None:
    """A user was saved: a new password ends sessions, and so does no longer being active."""
    if created or not _is_default_loader():
        return
    has_new_password = (
        getattr(instance, "_password", None) is not None  # as `set_password()` leaves it
        or (update_fields is not None and "password" in update_fields)
    )
    if has_new_password or not getattr(instance, "is_active", True):
        recheck(users=[instance], reason="the user was changed", on_commit=True)


def end_deleted(*, instance: Any, **_: Any) -> None:
    """A user was deleted."""
    if _is_default_loader():
        reason = "the user was deleted"
        disconnect(user=instance, code=CloseCode.REVOKED, reason=reason, on_commit=True)


def _is_default_loader() -> bool:
    """Where there is another one, whoever brings it knows what ends its identities."""
    return not get_settings().identity_loader
