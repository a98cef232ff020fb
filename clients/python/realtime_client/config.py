"""What can be set about a stream; the defaults suit most."""

import random
import ssl as ssl_module
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from realtime_client.backoff import Backoff

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Times are in seconds.

    backoff             between attempts, with full jitter on every delay
    max_retries         attempts in a row that may fail; None: no end
    reconnects          False: the first loss of a connection that stood ends the stream
    stable_after        how long a connection has to stand before the delays begin anew
    open_timeout        for the connection and its handshake
    hello_timeout       for the session to begin; the server waits 10 s for a token by itself
    heartbeat           after so long a silence the server is pinged
    pong_timeout        and after so long without an answer the connection is given up
    refresh_margin      how long before its end a token is renewed (a fifth of short ones)
    reply_timeout       for the answer to a question; it is asked again after a reconnect
    repeat_after        a publication without an answer is sent again, under its id
    publish_lifetime    after that a publication that was sent is an UnknownOutcome: servers
                        remember an id for five minutes
    max_incoming        messages (and bytes) that wait to be read; beyond, nothing more is received
    max_outgoing        publications (and bytes) that wait to be confirmed; beyond, publish()
                        waits for room
    queue_timeout       and so long, before it raises QueueFull
    max_message_bytes   the longest single message that is taken
    headers             for the handshake; with an Authorization of another scheme among them, or a
                        username and a password in the address, the token goes as a subprotocol
    ssl                 for wss://; None: the system's certificates
    proxy               True: as the environment says; None: none; else its address
    chance              random numbers in [0, 1)
    """

    backoff: Backoff = field(default_factory=Backoff)
    max_retries: int | None = None
    reconnects: bool = True
    stable_after: float = 10.0
    open_timeout: float = 10.0
    hello_timeout: float = 20.0
    heartbeat: float = 20.0
    pong_timeout: float = 10.0
    refresh_margin: float = 60.0
    reply_timeout: float = 30.0
    repeat_after: float = 15.0
    publish_lifetime: float = 240.0
    max_incoming: int = 1024
    max_incoming_bytes: int = 64 * MIB
    max_outgoing: int = 1000
    max_outgoing_bytes: int = 64 * MIB
    queue_timeout: float = 60.0
    max_message_bytes: int = 64 * MIB
    headers: Mapping[str, str] = field(default_factory=dict)
    ssl: ssl_module.SSLContext | None = None
    proxy: str | Literal[True] | None = True
    chance: Callable[[], float] = random.random
