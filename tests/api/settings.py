"""The project's settings with a namespace that tells who is there."""

from tests.project_settings import *  # noqa: F403
from tests.project_settings import REALTIME

REALTIME = {
    **REALTIME,
    "NAMESPACES": {
        **REALTIME["NAMESPACES"],
        "rooms": {"kind": "broadcast", "presence": True},
    },
}
