"""A client for servers that speak `realtime.v1`.

    async with connect("wss://host/ws/broadcast/lobby/", token=get_token) as stream:
        await stream.publish({"text": "hello"})
        async for message in stream:
            print(message)

It comes back by itself after whatever breaks a connection, gets what it missed, and says what is
gone. `realtime_client.sync` is the same for scripts and notebooks.
"""

from realtime_client.backoff import Backoff
from realtime_client.config import Config
from realtime_client.connections import PoolCounts
from realtime_client.credentials import SignIn
from realtime_client.errors import (
    ArrayError,
    ClientError,
    ConnectionEnded,
    ConnectionLost,
    HandshakeRefused,
    MessageTooBig,
    Misuse,
    PoolClosed,
    PoolExhausted,
    ProtocolFault,
    QueueFull,
    RequestRefused,
    RetriesExhausted,
    StreamClosed,
    UnknownOutcome,
)
from realtime_client.messages import (
    Ack,
    Binary,
    Gap,
    Hello,
    History,
    Join,
    Leave,
    Limits,
    Message,
    Presence,
    PresentSession,
    Publication,
    ServerError,
    Stats,
    Subscribed,
)
from realtime_client.pool import Pool
from realtime_client.positions import Position
from realtime_client.states import State, StateChange
from realtime_client.stream import Stream, connect

__all__ = [
    "Ack",
    "ArrayError",
    "Backoff",
    "Binary",
    "ClientError",
    "Config",
    "ConnectionEnded",
    "ConnectionLost",
    "Gap",
    "HandshakeRefused",
    "Hello",
    "History",
    "Join",
    "Leave",
    "Limits",
    "Message",
    "MessageTooBig",
    "Misuse",
    "Pool",
    "PoolClosed",
    "PoolCounts",
    "PoolExhausted",
    "Position",
    "Presence",
    "PresentSession",
    "ProtocolFault",
    "Publication",
    "QueueFull",
    "RequestRefused",
    "RetriesExhausted",
    "ServerError",
    "SignIn",
    "State",
    "StateChange",
    "Stats",
    "Stream",
    "StreamClosed",
    "Subscribed",
    "UnknownOutcome",
    "connect",
]
