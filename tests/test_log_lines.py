"""What clients can cause in the log is short, and bounded."""

import logging
import sys

import pytest
from django.core.exceptions import DisallowedHost

from realtime.log_lines import LINES_PER_MINUTE, MAX_TEXT, ClientFaults, LineBudget


def build_record(name: str, status: int, text: str = "Bad thing: %s") -> logging.LogRecord:
    """As Django logs an exception in a request."""
    try:
        raise DisallowedHost("evil")
    except DisallowedHost:
        record = logging.LogRecord(name, logging.ERROR, "", 0, text, ("here",), sys.exc_info())
    record.status_code = status
    return record


def write(filter_: logging.Filter, record: logging.LogRecord) -> str:
    """What a handler with that filter writes of a record."""
    return logging.Formatter().format(record) if filter_.filter(record) else ""


@pytest.mark.parametrize("name", ["django.security.DisallowedHost", "django.request"])
def test_a_fault_of_a_client_is_one_short_line(name: str) -> None:
    faults = ClientFaults()
    assert write(faults, build_record(name, 400)) == "Bad thing: here"
    assert len(write(faults, build_record(name, 400, "x" * 10_000 + "%s"))) == MAX_TEXT + 1


@pytest.mark.parametrize(("name", "status"), [("django.request", 500), ("realtime", 400)])
def test_a_fault_of_the_server_keeps_its_traceback(name: str, status: int) -> None:
    faults = ClientFaults()
    for _ in range(3 * LINES_PER_MINUTE):
        assert "Traceback" in write(faults, build_record(name, status))


def test_lines_beyond_the_bound_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("realtime.log_lines.time.monotonic", lambda: now)
    budget = LineBudget()
    lines = [write(budget, build_record("any", 400)) for _ in range(3 * LINES_PER_MINUTE)]
    assert all(lines[:LINES_PER_MINUTE])
    assert not any(lines[LINES_PER_MINUTE:])
    now += 60 / LINES_PER_MINUTE
    record = build_record("any", 400)
    assert write(budget, record)
    assert vars(record)["omitted"] == 2 * LINES_PER_MINUTE
    now += 60 / LINES_PER_MINUTE
    record = build_record("any", 400)
    assert write(budget, record)
    assert "omitted" not in vars(record)
