"""A filter for handlers of the log: nobody fills a disk with lines.

    "filters": {"limits": {"()": "realtime.log_limits.LogLimits"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "filters": ["limits"]}},

Lines of one kind (logger, level, text before its values are put in) are bounded for each client's
address, and for the server itself where a line names none; so are all lines together. What is left
out is counted, and a line a minute says how much, of what and of whom. Long values are cut; what
Django logs of a request that it refused has no traceback.
"""

import atexit
import logging
import threading
import time
from typing import Any, NamedTuple
from weakref import ref

from realtime.core.addresses import group_address
from realtime.core.budgets import Budgets

# How often it is said what was left out (s), and how many lines say it at most.
SUMMARY_SECONDS = 60.0
MAX_SUMMARIES = 20
# The longest value in a line, in characters; and the longest text about a refused request.
MAX_VALUE = 1000
MAX_REFUSAL = 200

logger = logging.getLogger("realtime.log")


class Kind(NamedTuple):
    """Lines that are counted together."""

    logger: str
    level: int
    text: str
    status: int | None
    address: str | None


class LogLimits(logging.Filter):
    """`each`: lines of one kind an hour, for each address; `in_all`: lines an hour. 0 lifts one.

    What clients cause, lines with an address, has a budget `in_all` of its own: they leave
    room for what the server has to say.
    """

    def __init__(self, each: int = 600, in_all: int = 180_000) -> None:
        super().__init__()
        now = time.monotonic()
        self._clients = Budgets(each=each, in_all=in_all, now=now)
        self._server = Budgets(each=each, in_all=in_all, now=now)
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._last = threading.local()
        atexit.register(self.summarise)  # before the handlers are closed

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is written."""
        if record.name == logger.name:
            return True
        # Several handlers may have this filter: it decides once for each line.
        if getattr(self._last, "record", lambda: None)() is not record:
            self._last.record, self._last.decision = ref(record), self._decide(record)
        decision: bool = self._last.decision
        return decision

    def summarise(self) -> None:
        """Say what was left out since the last time."""
        with self._lock:
            self._timer = None
            refused = [budgets.take_refused(most=MAX_SUMMARIES) for budgets in self._all]
        for largest, others in refused:
            for kind, count in largest:
                assert isinstance(kind, Kind)
                fields: dict[str, Any] = {"lines": count, "of": kind.logger, "text": kind.text}
                if kind.address is not None:
                    fields["address"] = kind.address
                if kind.status is not None:
                    fields["status"] = kind.status
                logger.warning("lines were left out", extra=fields)
            if others:
                logger.warning("lines of others were left out", extra={"lines": others})

    @property
    def _all(self) -> tuple[Budgets, Budgets]:
        return self._clients, self._server

    def _decide(self, record: logging.LogRecord) -> bool:
        address = _find_address(record)
        source = None if address is None else group_address(address)
        status = getattr(record, "status_code", None)
        kind = Kind(record.name, record.levelno, str(record.msg)[:MAX_VALUE], status, source)
        budgets = self._server if source is None else self._clients
        now = time.monotonic()
        with self._lock:
            is_within = budgets.take(kind, now)
            if not is_within:
                self._plan_summary()
        if is_within:
            _shorten(record)
        return is_within

    def _plan_summary(self) -> None:
        if self._timer is not None:
            return
        self._timer = threading.Timer(SUMMARY_SECONDS, self.summarise)
        self._timer.daemon = True
        try:
            self._timer.start()
        except RuntimeError:  # no thread is to be had: the next line that is left out tries again
            self._timer = None


def _find_address(record: logging.LogRecord) -> str | None:
    """Whose doing a line is: Django's lines about a request have that request."""
    address = getattr(record, "address", None)
    if address is None:
        request = getattr(record, "request", None)
        address = getattr(request, "META", {}).get("REMOTE_ADDR")
    return address if isinstance(address, str) else None


def _shorten(record: logging.LogRecord) -> None:
    if isinstance(record.args, tuple):
        record.args = tuple(map(_cut, record.args))
    if _is_clients_fault(record):
        # A wrong Host, a form with too many fields, a body that broke off: the traceback says
        # nothing of a fault of ours, and any client can have it written as often as it likes.
        record.exc_info = record.exc_text = record.stack_info = None
        record.msg, record.args = _cut(record.getMessage(), MAX_REFUSAL), None


def _is_clients_fault(record: logging.LogRecord) -> bool:
    if record.name.startswith("django.security."):
        return True
    status = getattr(record, "status_code", 500)
    return record.name == "django.request" and 400 <= status < 500


def _cut(value: Any, most: int = MAX_VALUE) -> Any:
    if isinstance(value, str) and len(value) > most:
        return value[:most] + "…"
    return value
