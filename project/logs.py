"""Log lines for people: the message, then its structured fields as key=value."""

import json
import logging
import re

# What is no field of a log line. Django adds the request itself, whose text has the query string.
HIDDEN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "request"}


_PLAIN = re.compile(r"[!-~]*", re.ASCII)


class TextFormatter(logging.Formatter):
    """`12:00:01 INFO realtime.sessions session closed user=anna code=1000`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = (
            f" {key}={_format(value)}" for key, value in vars(record).items() if key not in HIDDEN
        )
        return super().formatMessage(record) + "".join(fields)


def _format(value: object) -> str:
    """A value on one line: what a client wrote must not look like a line of ours."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
