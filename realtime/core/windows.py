"""Windows of statistics, and the fields that are said about them: section 6 of the protocol."""

import re
from dataclasses import dataclass

from realtime.core.errors import InvalidParameter

MAX_SAMPLES = 100_000  # samples that a topic retains, and so the longest window
MAX_SECONDS = 86_400  # the longest time window
FIELDS = ("sum", "var", "median", "p90", "p95", "p99", "first", "rate", "nan_count")


@dataclass(frozen=True, slots=True)
class Window:
    """The newest `samples`, or those of the last `seconds`; the other of the two is None.

    `text` is how the client wrote it, to be echoed.
    """

    samples: int | None
    seconds: float | None
    text: str


def parse_window(text: str) -> Window:
    """A window from "100" (samples), "60s", "0.5s", "5m" or "1h"; else InvalidParameter."""
    match = _WINDOW.fullmatch(text)
    if match and match["samples"]:
        samples = int(match["samples"])
        if 1 <= samples <= MAX_SAMPLES:
            return Window(samples, None, text)
    elif match:
        seconds = float(match["time"]) * _UNITS[match["unit"]]
        if 0 < seconds <= MAX_SECONDS:
            return Window(None, seconds, text)
    raise InvalidParameter(
        f"window has to be a number of samples from 1 to {MAX_SAMPLES}, as 100, "
        f"or a time up to 24h, as 60s, 0.5s, 5m or 1h; got {text[:40]!a}"
    )


def parse_fields(text: str) -> tuple[str, ...]:
    """The extra fields in a comma-separated list, in the order of FIELDS; "" names none.

    Raises InvalidParameter where one is unknown or stands there twice.
    """
    names = text.split(",") if text else []
    for position, name in enumerate(names):
        if name not in FIELDS:
            raise InvalidParameter(
                f"fields has {name[:40]!a}, which is none of {', '.join(FIELDS)}"
            )
        if name in names[:position]:
            raise InvalidParameter(f"fields has {name} twice")
    return tuple(name for name in FIELDS if name in names)


_WINDOW = re.compile(r"(?P<samples>[0-9]{1,9})|(?P<time>[0-9]{1,9}(\.[0-9]{1,9})?)(?P<unit>[smh])")
_UNITS = {"s": 1, "m": 60, "h": 3600}
