"""What live sessions are told when something about their user or sign-in has changed.

Both wait for the commit. A failure to announce it (Redis may be down) is logged and does not fail
a request whose change has already been committed: the sweep of each instance finds it.
"""

from collections.abc import Collection

from django.db import transaction

import realtime

# Plain inner functions, since Django's log line for a robust hook reads its __qualname__.


def end_live_sessions(*, user: int | None = None, sid: str | None = None) -> None:
    """End the sessions of the user with that primary key, or of that sign-in."""

    def announce() -> None:
        realtime.disconnect(user=user, sid=sid, code=realtime.CloseCode.REVOKED)

    transaction.on_commit(announce, robust=True)


def recheck_live_sessions(users: Collection[int] | None = None) -> None:
    """Look anew at what these users may do; None for everybody. Sessions that may not, end."""

    def announce() -> None:
        realtime.recheck(users=users)

    transaction.on_commit(announce, robust=True)
