"""Django's admin as the tool of whoever is on call: sessions, instances, and topics in use."""

from realtime.admin.instances import InstanceAdmin
from realtime.admin.sessions import SessionAdmin
from realtime.admin.topics import LiveTopicAdmin

__all__ = ["InstanceAdmin", "LiveTopicAdmin", "SessionAdmin"]
