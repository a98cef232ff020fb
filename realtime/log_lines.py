"""Log lines that a client can cause at will: few, short, and with a count of those left out."""

import logging
import time

from realtime.core.buckets import TokenBucket

LINES_PER_MINUTE = 60
MAX_TEXT = 200


class LineBudget(logging.Filter):
    """Lets so many lines a minute pass; the next one tells how many were left out (`omitted`)."""

    def __init__(self, lines_per_minute: float = LINES_PER_MINUTE) -> None:
        super().__init__()
        self._bucket = TokenBucket(
            rate=lines_per_minute / 60, burst=lines_per_minute, now=time.monotonic()
        )
        self._omitted = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if not self._bucket.take(time.monotonic()):
            self._omitted += 1
            return False
        if self._omitted:
            record.omitted = self._omitted
            self._omitted = 0
        return True


class ClientFaults(LineBudget):
    """What Django logs of requests that it refused: one short line each, without a traceback.

    For a handler. A wrong Host, a form with too many fields, a body that broke off: Django writes
    a traceback for each, as long as the client likes. Faults of the server's own pass untouched.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written; shortens it."""
        if not _is_clients_fault(record):
            return True
        if not super().filter(record):
            return False
        record.exc_info = record.exc_text = record.stack_info = None
        text = record.getMessage()
        record.msg = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
        record.args = None
        return True


def _is_clients_fault(record: logging.LogRecord) -> bool:
    if record.name.startswith("django.security."):
        return True
    status = getattr(record, "status_code", 500)
    return record.name == "django.request" and 400 <= status < 500
