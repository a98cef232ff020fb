"""The project's settings, with a broadcast namespace that keeps no history."""

from project.settings import *  # noqa: F403
from project.settings import REALTIME as _REALTIME

REALTIME = {**_REALTIME, "NAMESPACES": {"broadcast": {"kind": "broadcast", "history_size": 0}}}
