"""The project's settings with topics that anyone may use, for tests of the engine alone."""

from project.settings import *  # noqa: F403
from project.settings import REALTIME

ANYONE = {"subscribe": "anyone", "publish": "anyone"}

REALTIME = {
    **REALTIME,
    "NAMESPACES": {
        "open": {"kind": "broadcast", **ANYONE},
        "newest": {"kind": "broadcast", "slow": "latest", **ANYONE},
        "tables": {"kind": "binary", **ANYONE},
    },
}
