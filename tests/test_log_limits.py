"""A log that nobody fills: bounded by kind and address, and what is left out is told."""

import atexit
import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import DisallowedHost

from realtime import log_limits
from realtime.log_limits import LogLimits


class Written(logging.Handler):
    """Notes what comes through."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]


class Log:
    """A logger with limits, on a handler, or two that share them."""

    def __init__(self, **limits: int) -> None:
        self.limits = LogLimits(**limits)
        self.handlers = [Written(), Written()]
        self.logger = logging.getLogger("realtime.sessions.limited")
        self.summaries = logging.getLogger("realtime.log")
        for handler in self.handlers:
            handler.addFilter(self.limits)
            for logger in (self.logger, self.summaries):
                logger.addHandler(handler)
        self.logger.setLevel(logging.INFO)

    def close(self) -> None:
        atexit.unregister(self.limits.summarise)
        if self.limits._timer is not None:
            self.limits._timer.cancel()
        for handler in self.handlers:
            for logger in (self.logger, self.summaries):
                logger.removeHandler(handler)

    def write(self, count: int, text: str = "session closed", **extra: Any) -> int:
        """How many of so many lines are written."""
        before = len(self.handlers[0].records)
        for _ in range(count):
            self.logger.info(text, extra=extra)
        return len(self.handlers[0].records) - before


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log(each=60, in_all=600)
    yield log
    log.close()


def test_one_address_has_its_lines_and_the_others_keep_theirs(log: Log) -> None:
    assert log.write(1000, address="2001:db8::1") == 10
    assert log.write(10, address="2001:db8::ffff:2") == 0  # of the same /64
    assert log.write(5, address="192.0.2.1") == 5
    assert log.write(20, "session opened", address="2001:db8::1") == 10


def test_the_servers_own_lines_have_a_budget_that_clients_cannot_use_up(log: Log) -> None:
    for number in range(30):
        log.write(10, address=f"192.0.2.{number}")
    assert log.write(1, address="192.0.2.200") == 0
    assert log.write(20, "the layer does not answer") == 10


def test_what_is_left_out_is_told_by_kind_and_address(log: Log) -> None:
    log.write(15, address="192.0.2.1")
    log.write(11, "the layer does not answer")
    assert log.limits._timer is not None
    log.limits._timer.cancel()
    log.limits.summarise()
    told = [record for record in log.handlers[1].records if record.name == "realtime.log"]
    fields = [
        (record.__dict__["text"], record.__dict__.get("address"), record.__dict__["lines"])
        for record in told
    ]
    assert fields == [("session closed", "192.0.2.1", 5), ("the layer does not answer", None, 1)]
    log.limits.summarise()
    assert len(log.handlers[1].records) == 20 + 2


def test_many_addresses_are_told_in_few_lines(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_limits, "MAX_SUMMARIES", 3)
    for number in range(20):
        log.write(12, address=f"192.0.2.{number}")
    log.limits.summarise()
    told = [one for one in log.handlers[0].records if one.name == "realtime.log"]
    assert [one.getMessage() for one in told[-2:]] == [
        "lines were left out",
        "lines of others were left out",
    ]
    assert (len(told), sum(one.__dict__["lines"] for one in told)) == (4, 240 - 100)


def test_a_line_on_two_handlers_counts_once_and_is_on_both_or_none(log: Log) -> None:
    log.write(15, address="192.0.2.1")
    assert [len(handler.records) for handler in log.handlers] == [10, 10]


def test_lines_about_requests_count_for_the_address_and_the_status(log: Log) -> None:
    request = SimpleNamespace(META={"REMOTE_ADDR": "192.0.2.9"})
    assert log.write(20, "%s: %s", request=request, status_code=404) == 10
    assert log.write(20, "%s: %s", request=request, status_code=403) == 10
    request = SimpleNamespace(META={"REMOTE_ADDR": "192.0.2.10"})
    assert log.write(5, "%s: %s", request=request, status_code=404) == 5


def test_long_values_are_cut(log: Log) -> None:
    log.logger.warning("Not Found: %s", "/" + "x" * 16_000)
    assert 1000 < len(log.handlers[0].texts[0]) < 1100


def test_without_a_thread_the_line_that_is_left_out_next_tries_again(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("threading.Timer.start", fail)
        log.write(11, address="192.0.2.1")
    assert log.limits._timer is None
    log.write(1, address="192.0.2.1")
    assert log.limits._timer is not None


def build_refusal(name: str, status: int, text: str = "Bad thing: %s") -> logging.LogRecord:
    """As Django logs an exception in a request."""
    try:
        raise DisallowedHost("evil")
    except DisallowedHost:
        record = logging.LogRecord(name, logging.ERROR, "", 0, text, ("here",), sys.exc_info())
    record.status_code = status
    return record


def format_line(limits: LogLimits, record: logging.LogRecord) -> str:
    return logging.Formatter().format(record) if limits.filter(record) else ""


@pytest.mark.parametrize("name", ["django.security.DisallowedHost", "django.request"])
def test_a_fault_of_a_client_is_one_short_line(name: str, log: Log) -> None:
    limits = log.limits
    assert format_line(limits, build_refusal(name, 400)) == "Bad thing: here"
    assert len(format_line(limits, build_refusal(name, 400, "x" * 10_000 + "%s"))) == 201


@pytest.mark.parametrize(("name", "status"), [("django.request", 500), ("realtime", 400)])
def test_a_fault_of_the_server_keeps_its_traceback(name: str, status: int, log: Log) -> None:
    assert "Traceback" in format_line(log.limits, build_refusal(name, status))
