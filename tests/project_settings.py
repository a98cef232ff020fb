"""The project's settings with more namespaces, for tests that need their policies and sizes.

Chosen by `DJANGO_SETTINGS_MODULE=tests.project_settings` in a test project's environment.
"""

from typing import Any

from project.settings import *  # noqa: F403
from project.settings import REALTIME
from realtime import errors

REALTIME = {
    **REALTIME,
    "NAMESPACES": {
        "open": {"kind": "broadcast", "subscribe": "anyone", "publish": "anyone"},
        "public": {"kind": "broadcast", "subscribe": "anyone"},
        "notices": {"kind": "broadcast", "publish": "staff"},
        "secret": {"kind": "broadcast", "subscribe": "staff"},
        "short": {"kind": "broadcast", "history_size": 5},
        "fleeting": {"kind": "broadcast", "history_size": 0},
        "polite": {"kind": "broadcast", "processor": "tests.project_settings.process_politely"},
    },
}


def process_politely(data: Any, *, topic: str, user: Any) -> Any:
    """Refuses what is rude, fails at what is odd, and signs the rest."""
    if data == "rude":
        raise errors.Rejected("be kind")
    if data == "odd":
        raise RuntimeError("the secret of the processor")
    return {"said": data, "by": user.get_username(), "in": topic}
