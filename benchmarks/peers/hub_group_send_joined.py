"""`hub_group_send`, helped: publications that come one by one leave together all the same.

Each round trip to Redis is followed by a delivery that takes as long as publications are waited
for under load, so that hardly any meet. Here they are waited for long enough for 16 round trips.
"""

from benchmarks.peers.hub_group_send import application
from realtime import followers

__all__ = ["application"]

followers.JOIN_SECONDS = 0.004
