"""The history: the one truth about what was published. Chosen by `REALTIME["REDIS_URL"]`."""

from realtime.conf import Settings
from realtime.history.base import (
    HEAD_BYTES,
    LONGEST_CARRIED,
    PAGE_BYTES,
    PUBLICATIONS,
    SERVER,
    Accepted,
    Batch,
    History,
    Item,
    Page,
    Size,
    Top,
)

__all__ = [
    "HEAD_BYTES",
    "LONGEST_CARRIED",
    "PAGE_BYTES",
    "PUBLICATIONS",
    "SERVER",
    "Accepted",
    "Batch",
    "History",
    "Item",
    "Page",
    "Size",
    "Top",
    "open_history",
]


def open_history(settings: Settings) -> History:
    """The store that the settings name."""
    if settings.redis_url:
        from realtime.history.redis import RedisHistory

        return RedisHistory(settings)
    from realtime.history.memory import MemoryHistory

    return MemoryHistory(settings)
