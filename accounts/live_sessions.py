"""Ending the live sessions of a user or of a sign-in."""

from django.db import transaction

import realtime


def end_live_sessions(*, user: int | None = None, sid: str | None = None) -> None:
    """End the sessions of the user with that primary key, or of that sign-in, on commit.

    A failure to announce it (Redis may be down) is logged and does not fail a request whose
    change has already been committed: from then on no token of it is accepted anyway.
    """

    # A plain function, since Django's log line for a robust hook reads its __qualname__.
    def announce() -> None:
        realtime.disconnect(user=user, sid=sid, code=realtime.CloseCode.REVOKED)

    transaction.on_commit(announce, robust=True)
