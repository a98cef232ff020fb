"""Presence: which sessions are on a topic. The store is chosen by `REALTIME["REDIS_URL"]`."""

from realtime.conf import Settings
from realtime.presence.base import Change, Member, Presence, Snapshot

__all__ = ["Change", "Member", "Presence", "Snapshot", "open_presence"]


def open_presence(settings: Settings, *, instance: str) -> Presence:
    """The store that the settings name, for one instance."""
    if settings.redis_url:
        from realtime.presence.redis import RedisPresence

        return RedisPresence(settings, instance=instance)
    from realtime.presence.memory import MemoryPresence

    return MemoryPresence()
