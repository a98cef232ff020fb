"""Servers to compare with, each a process of its own.

All speak alike: `/ws/broadcast/<name>/` subscribes to a topic, `/ws/publish/<name>/` publishes
into it without subscribing, `/ws/echo/` sends every message back. A publication reaches each
subscriber as one message. The port comes as the only argument. `no_history` and
`hub_group_send…` are this server itself with one thing changed, to find out what that costs.
"""
