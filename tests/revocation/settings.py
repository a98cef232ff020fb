"""The project with namespaces of every policy, and with policies whose answers change.

Chosen by `DJANGO_SETTINGS_MODULE=tests.revocation.settings` in a test project's environment.
"""

import asyncio
import os
from typing import Any

from project.settings import *  # noqa: F403
from project.settings import DATA_DIR
from project.settings import REALTIME as _REALTIME

READ, WRITE = "accounts.view_user", "accounts.change_user"
# Who stands here is refused by the callables below.
REFUSED = DATA_DIR / "refused"
# Who stands here is being asked about, for ever: a file `<username>-<process>`.
STUCK = DATA_DIR / "stuck"
# Data that is being processed: a file `<data>`, until a file `<data>-done` lets it go on.
PROCESSED = DATA_DIR / "processed"


def may_read(user: Any, topic: str) -> bool:
    """A project's own policy, of a kind that no signal tells about."""
    return not (REFUSED / user.username).exists()


async def may_read_later(user: Any, topic: str) -> bool:
    """The same for those who wait; a user called `…stuck` waits for ever, once refused."""
    await asyncio.sleep(0)
    refused = not may_read(user, topic)
    if refused and user.username.endswith("stuck"):
        (STUCK / f"{user.username}-{os.getpid()}").touch()
        await asyncio.Event().wait()
    return not refused


class Judge:
    """A policy that is an object, whose answer has to be awaited all the same."""

    async def __call__(self, user: Any, topic: str) -> bool:
        return may_read(user, topic)


judge = Judge()


def may_read_wrapped(user: Any, topic: str) -> Any:
    """Awaited too, which it does not look like from outside: so a plain decorator makes it."""
    return may_read_later(user, topic)


async def take_time(data: Any, *, topic: str, user: Any) -> Any:
    """A processor that is ready when it is told so."""
    (PROCESSED / data).touch()
    while not (PROCESSED / f"{data}-done").exists():
        await asyncio.sleep(0.02)
    return data


REALTIME = {
    **_REALTIME,
    "NAMESPACES": {
        "crew": {"kind": "broadcast", "subscribe": READ, "publish": WRITE, "presence": True},
        "figures": {"kind": "stats", "subscribe": READ, "publish": WRITE},
        "office": {"kind": "broadcast", "subscribe": "staff"},
        "judged": {
            "kind": "broadcast",
            "subscribe": f"{__name__}.may_read",
            "presence": True,
        },
        "awaited": {"kind": "broadcast", "subscribe": f"{__name__}.may_read_later"},
        "called": {"kind": "broadcast", "subscribe": f"{__name__}.judge"},
        "wrapped": {"kind": "broadcast", "subscribe": f"{__name__}.may_read_wrapped"},
        "open": {
            "kind": "broadcast",
            "subscribe": "anyone",
            "publish": "anyone",
            "presence": True,
        },
        "slow": {"kind": "broadcast", "processor": f"{__name__}.take_time"},
    },
}
