"""What live sessions are told when something about their user or sign-in has changed.

Both wait for the commit. A failure to announce it (Redis may be down) is logged and does not fail
a request whose change has already been committed: the sweep of each instance finds it.
"""

import logging
from collections.abc import Callable, Collection

from django.db import transaction

import realtime

logger = logging.getLogger("accounts")


def end_live_sessions(*, user: int | None = None, sid: str | None = None) -> None:
    """End the sessions of the user with that primary key, or of that sign-in."""

    _announce(lambda: realtime.disconnect(user=user, sid=sid, code=realtime.CloseCode.REVOKED))


def recheck_live_sessions(users: Collection[int] | None = None) -> None:
    """Look anew at what these users may do; None for everybody. Sessions that may not, end."""

    _announce(lambda: realtime.recheck(users=users))


def _announce(tell: Callable[[], None]) -> None:
    # A plain function, since Django's log line for a robust hook reads its __qualname__.
    def announce() -> None:
        try:
            tell()
        except realtime.errors.Unavailable as error:
            logger.error(
                "not every instance heard of a change of a user: %s; they find out by themselves",
                error.detail,
            )

    transaction.on_commit(announce, robust=True)
