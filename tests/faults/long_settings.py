"""The project with a namespace whose history is long."""

from project.settings import *  # noqa: F403
from project.settings import REALTIME as _REALTIME

LONG = {"kind": "broadcast", "history_size": 100_000, "history_bytes": 256 * 1024 * 1024}
REALTIME = {**_REALTIME, "NAMESPACES": {"long": LONG}}
