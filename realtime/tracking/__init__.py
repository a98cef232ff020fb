"""What the database knows of this process: its lease, and the rows of its sessions."""

from realtime.tracking.recorder import Recorder
from realtime.tracking.retention import prune_sessions

__all__ = ["Recorder", "prune_sessions"]
