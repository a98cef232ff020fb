"""The project's settings with namespaces that have presence.

Chosen by `DJANGO_SETTINGS_MODULE=tests.presence_settings` in a test project's environment.
"""

from project.settings import *  # noqa: F403
from project.settings import REALTIME

REALTIME = {
    **REALTIME,
    "NAMESPACES": {
        "room": {
            "kind": "broadcast",
            "presence": True,
            "subscribe": "anyone",
            "publish": "anyone",
        },
        "fleeting": {"kind": "broadcast", "history_size": 0},
        "figures": {"kind": "stats", "presence": True},
        "secret": {
            "kind": "broadcast",
            "presence": True,
            "subscribe": "staff",
            "publish": "anyone",
        },
    },
}
