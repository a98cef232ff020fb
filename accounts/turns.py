"""Passwords are looked at a few at a time.

Checking one takes 100 MiB and all cores for a moment, as it should; a hundred at once would take
the whole machine, and all of them would be past the bounds on failures before the first failed.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import close_old_connections

from realtime import errors

# At the same time, in one process: more would not be done any sooner.
AT_ONCE = 2
# How long one may wait for its turn, in seconds.
WAIT_SECONDS = 10.0

_turns = threading.BoundedSemaphore(AT_ONCE)


@contextmanager
def password_turn() -> Iterator[None]:
    """Wait for a turn, and hold it from the last look at the bounds until a failure is noted.

    Raises Unavailable where none comes in time.
    """
    # Who waits keeps no connection: a pool has few of them, and all others need one.
    close_old_connections()
    if not _turns.acquire(timeout=WAIT_SECONDS):
        raise errors.Unavailable("too many sign in at this moment: try again in a moment")
    try:
        yield
    finally:
        _turns.release()
