"""What is limited."""

from enum import StrEnum


class Limit(StrEnum):
    """A limit, as the counter `realtime_limited_total` names it."""

    MESSAGES = "messages"
    BYTES = "bytes"
    CONNECTIONS_PER_USER = "connections_per_user"
    CONNECTIONS_PER_ADDRESS = "connections_per_address"
    CONNECTIONS_PER_PROCESS = "connections_per_process"
    HANDSHAKES = "handshakes"
    REQUESTS = "requests"
    WAITING_REQUESTS = "waiting_requests"
    BAD_TOKENS = "bad_tokens"
