"""What is limited."""

from enum import StrEnum


class Limit(StrEnum):
    """A limit, as the counter `realtime_limited_total` names it."""

    MESSAGES = "messages"
    FRAMES = "frames"
    BYTES = "bytes"
    INPUT = "input"
    INPUT_PER_PROCESS = "input_per_process"
    STATISTICS = "statistics"
    MESSAGE_TIME = "message_time"
    CONNECTIONS_PER_USER = "connections_per_user"
    CONNECTIONS_PER_ADDRESS = "connections_per_address"
    CONNECTIONS_PER_PROCESS = "connections_per_process"
    HANDSHAKES = "handshakes"
    HTTP_CONNECTIONS_PER_ADDRESS = "http_connections_per_address"
    HTTP_CONNECTIONS_PER_PROCESS = "http_connections_per_process"
    HTTP_BODIES_PER_ADDRESS = "http_bodies_per_address"
    HTTP_BODIES_PER_PROCESS = "http_bodies_per_process"
    HTTP_DEADLINES = "http_deadlines"
    REQUESTS = "requests"
    WAITING_REQUESTS = "waiting_requests"
    BAD_TOKENS = "bad_tokens"
