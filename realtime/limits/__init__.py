"""Limits on clients: connections, handshakes, messages and bytes; 0 lifts one.

What is sent, and how fast connections come, is counted in the process. How many connections a
user and an address have is counted by all instances together, where they share a Redis.
"""

from realtime.limits.allowances import Excess
from realtime.limits.kinds import Limit
from realtime.limits.limits import Limits
from realtime.limits.memory import HeldMemory, Holding
from realtime.limits.pace import Pace
from realtime.limits.reader import FIRST_MESSAGE_BYTES, READER, Reader
from realtime.limits.work import Meter

__all__ = [
    "FIRST_MESSAGE_BYTES",
    "READER",
    "Excess",
    "HeldMemory",
    "Holding",
    "Limit",
    "Limits",
    "Meter",
    "Pace",
    "Reader",
]
