"""What is limited."""

from enum import StrEnum


class Limit(StrEnum):
    """A limit, as the counter `realtime_limited_total` names it."""

    MESSAGES = "messages"
    FRAMES = "frames"
    BYTES = "bytes"
    INPUT = "input"
    INPUT_PER_PROCESS = "input_per_process"
    MESSAGE_TIME = "message_time"
    CONNECTIONS_PER_USER = "connections_per_user"
    CONNECTIONS_PER_ADDRESS = "connections_per_address"
    CONNECTIONS_PER_PROCESS = "connections_per_process"
    HANDSHAKES = "handshakes"
