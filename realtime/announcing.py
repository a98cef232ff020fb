"""What leaves a process to be heard by servers: after the commit, or where none is reached.

One rule for publications, disconnects and rechecks, whether or not a transaction is open: a call
with `on_commit` raises nothing about the way to a server, for what was saved is saved; a direct
call raises NotRunning where no server is reached, unless `OUTSIDE_SERVER` says otherwise.
"""

import logging
from collections.abc import Callable
from typing import Any

from django.db import transaction

from realtime.conf import OutsideServer, get_settings
from realtime.core.errors import NotRunning, RealtimeError


def defer(work: Callable[[], object], using: str | None = None) -> bool:
    """Leave work to the commit of this thread's transaction; False where there is none."""
    connection = transaction.get_connection(using)
    # Not `transaction.on_commit()` by itself: outside a transaction that opens a connection to
    # look, which a thread of the caller's would have to close. A connection that is open and not
    # in autocommit is in a transaction by hand, which `on_commit()` refuses.
    if not connection.in_atomic_block and (connection.connection is None or connection.autocommit):
        return False

    # A plain function, since Django's log line for a robust hook reads its __qualname__.
    def run() -> None:
        work()

    transaction.on_commit(run, using=using, robust=True)
    return True


def is_excused(error: NotRunning, logger: logging.Logger, what: str, **extra: Any) -> bool:
    """Whether `OUTSIDE_SERVER` wants no error of a direct call; it is logged where that says so."""
    match get_settings().outside_server:
        case OutsideServer.RAISE:
            return False
        case OutsideServer.LOG:
            logger.error("%s: %s", what, error, extra=extra)
    return True


def report(
    error: Exception, logger: logging.Logger, what: str, *, level: int = logging.ERROR, **extra: Any
) -> None:
    """Log, in one line, what went wrong with an `on_commit` call. A bug has its traceback too.

    Where no server is reached and `OUTSIDE_SERVER` is `ignore`, nothing is logged. `level` is for
    NotRunning alone.
    """
    if isinstance(error, NotRunning):
        if get_settings().outside_server is not OutsideServer.IGNORE:
            logger.log(level, "%s: %s", what, error, extra=extra)
    elif isinstance(error, RealtimeError):
        logger.error("%s: %s", what, error, extra=extra)
    else:
        logger.error("%s: %r", what, error, extra=extra, exc_info=error)
