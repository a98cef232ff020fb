"""Numbers and times for people: short in the cell, exact in the title that a pointer shows."""

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from realtime.core.close_codes import CloseCode

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_NOTHING: SafeString = format_html('<span class="quiet">{}</span>', 0)


def show_count(count: int) -> SafeString:
    """12,345; a zero is quiet."""
    return format_html("{}", f"{count:,}") if count else _NOTHING


def show_size(count: int) -> SafeString:
    """1.2 MiB, with the bytes in the title."""
    if not count:
        return _NOTHING
    return format_html('<span title="{} bytes">{}</span>', f"{count:,}", format_size(count))


def show_rate(rate: float | None) -> SafeString:
    """So many a second; a dash where it is not known."""
    if rate is None:
        return format_html('<span class="quiet" title="{}">–</span>', "not known")
    if not rate:
        return _NOTHING
    return format_html("{}", f"{rate:,.0f}" if rate >= 100 else f"{rate:.2g}")


def show_moment(moment: datetime) -> SafeString:
    """3 min ago, with the time in the title."""
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S %Z}",
        f"{format_duration(timezone.now() - moment)} ago",
    )


def format_size(count: int) -> str:
    """The number of bytes in the unit that leaves one to three digits before the point."""
    size, unit = float(count), 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    digits = 0 if unit == 0 or size >= 99.5 else 1
    return f"{size:.{digits}f} {_UNITS[unit]}"


def format_duration(duration: timedelta) -> str:
    """In one unit: 12 s, 3 min, 5 h, 2 d. A clock that is behind makes it 0 s, never less."""
    seconds = max(int(duration.total_seconds()), 0)
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def format_close_code(code: int) -> str:
    """4002 disconnected; a code that a client made up is the number alone."""
    try:
        name = CloseCode(code).name
    except ValueError:
        return str(code)
    return f"{code} {name.replace('_', ' ').lower()}"
