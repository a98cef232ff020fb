"""Limits on clients, counted in this process; 0 lifts one."""

import ipaddress
import time
from collections import Counter

from realtime.conf import Settings
from realtime.core.buckets import TokenBucket
from realtime.sessions import Session

# A client that floods and reconnects finds its bucket as it left it, for this many seconds.
BUCKET_MEMORY = 60.0
# A bucket holds this many seconds' worth of messages.
BURST_SECONDS = 2


class Limits:
    """Connections of a user and of an address, messages and handshakes a second."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._users: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        self._buckets: dict[str, TokenBucket] = {}
        self._sharers: Counter[str] = Counter()  # sessions of each bucket
        self._idle: dict[str, float] = {}  # when the last session of a bucket ended
        rate = settings.handshakes_per_second
        self._handshakes = (
            TokenBucket(rate=rate, burst=rate * BURST_SECONDS, now=time.monotonic())
            if rate
            else None
        )

    def admit_handshake(self, connections: int) -> bool:
        """Whether the process takes one more handshake now, with so many connections open."""
        most = self._settings.connections_per_process
        if most and connections > most:
            return False
        return self._handshakes is None or self._handshakes.take(time.monotonic())

    def open(self, session: Session) -> str | None:
        """Count a session; returns the limit that it is over, or None. Always `close()` it."""
        address = _group_address(session.address)
        self._addresses[address] += 1
        self._sharers[_find_key(session)] += 1
        self._idle.pop(_find_key(session), None)
        if session.user_id is not None:
            self._users[session.user_id] += 1
            most = self._settings.connections_per_user
            if most and self._users[session.user_id] > most:
                return f"at most {most} connections for each user"
        most = self._settings.connections_per_address
        if most and self._addresses[address] > most:
            return f"at most {most} connections for each address"
        return None

    def close(self, session: Session) -> None:
        """Count a session no longer."""
        _decrease(self._addresses, _group_address(session.address))
        if session.user_id is not None:
            _decrease(self._users, session.user_id)
        key = _find_key(session)
        _decrease(self._sharers, key)
        now = time.monotonic()
        if key not in self._sharers:
            self._idle[key] = now
        while self._idle and (oldest := next(iter(self._idle))):
            if self._idle[oldest] > now - BUCKET_MEMORY:
                break
            del self._idle[oldest]
            self._buckets.pop(oldest, None)

    def find_bucket(self, session: Session) -> TokenBucket | None:
        """The message bucket that a session shares with others of its user, or else address."""
        rate = self._settings.messages_per_second
        if not rate:
            return None
        key = _find_key(session)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(
                rate=rate, burst=rate * BURST_SECONDS, now=time.monotonic()
            )
        return bucket


def _find_key(session: Session) -> str:
    if session.user_id is not None:
        return f"user {session.user_id}"
    return f"address {_group_address(session.address)}"


def _group_address(address: str) -> str:
    """An IPv6 client owns its /64, so the network is counted as one address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address  # a UNIX socket has none
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


def _decrease(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
