"""What live sessions are told when something about their user or sign-in has changed.

Both wait for the commit, and fail nothing: who cannot be told finds out at the next look of each
instance at the users of its sessions.
"""

from collections.abc import Collection

import realtime


def end_live_sessions(*, user: int | None = None, sid: str | None = None, reason: str) -> None:
    """End the sessions of the user with that primary key, or of that sign-in."""
    code = realtime.CloseCode.REVOKED
    realtime.disconnect(user=user, sid=sid, code=code, reason=reason, on_commit=True)


def recheck_live_sessions(users: Collection[int] | None = None) -> None:
    """Look anew at what these users may do; None for everybody. Sessions that may not, end."""
    realtime.recheck(users=users, reason="rights of users changed", on_commit=True)
