"""How many messages and bytes a second a user, or else an address, may send."""

import asyncio
import time

from realtime.conf import Settings
from realtime.limits.kinds import Limit
from realtime.metrics import LIMITED

# An allowance holds this many seconds' worth.
BURST_SECONDS = 2
# A client that floods and reconnects finds its allowance as it left it, for this many seconds.
MEMORY_SECONDS = 60.0

# Who sends nothing but what takes long to handle gets this share of a processor.
WORK_SHARE = 0.1

UNLIMITED = float("inf")


class Allowance:
    """Two token buckets, of messages and of bytes; times are in seconds of one clock.

    A message may go while there is one message and no debt of bytes; its bytes may leave a
    debt, so that one that is longer than the bucket goes as well.
    """

    __slots__ = (
        "_byte_burst",
        "_byte_rate",
        "_bytes",
        "_message_burst",
        "_message_rate",
        "_messages",
        "_updated",
        "key",
        "sharers",
    )

    def __init__(self, settings: Settings, *, key: str, now: float) -> None:
        self.key = key
        self.sharers = 0  # sessions that have it in common
        rate = settings.messages_per_second
        self._message_rate = rate
        self._messages = self._message_burst = rate * BURST_SECONDS if rate else UNLIMITED
        rate = settings.bytes_per_second
        self._byte_rate = rate
        # The longest publication at once, however low the rate.
        burst = max(rate * BURST_SECONDS, settings.max_binary_bytes)
        self._bytes = self._byte_burst = burst if rate else UNLIMITED
        self._updated = now

    def take(self, size: int, now: float) -> bool:
        """Take one message of so many bytes out; False where there is no room for it now."""
        # For each message of each session: written out, without calls.
        elapsed = now - self._updated
        self._updated = now
        messages = self._messages + elapsed * self._message_rate
        if messages > self._message_burst:
            messages = self._message_burst
        left = self._bytes + elapsed * self._byte_rate
        if left > self._byte_burst:
            left = self._byte_burst
        if messages < 1 or left < 0:
            self._messages, self._bytes = messages, left
            return False
        self._messages, self._bytes = messages - 1, left - size
        return True

    def charge(self, seconds: float) -> None:
        """Take messages out for so much time of the processor that one has taken.

        Their number is such that the messages of a second pay for `WORK_SHARE` of a second. They
        may leave a debt: then the next messages have to wait for that much longer.
        """
        self._messages -= seconds * self._message_rate / WORK_SHARE

    def take_frames(self, count: int, now: float) -> bool:
        """Take so many frames out that are no messages: control frames, fragments.

        Nobody can be made to wait for these, so they may leave a debt as large as the bucket,
        for those who are at their limit answer pings, too. False where it would be larger.
        """
        self._refill(now)
        self._messages -= count
        return self._messages > -self._message_burst

    def take_bytes(self, size: int, now: float) -> float:
        """Take bytes of an unfinished message out, or put them back (a negative size).

        Returns the seconds until its next ones should come: 0 without a debt.
        """
        self._refill(now)
        self._bytes -= size
        return max(0.0, -self._bytes / self._byte_rate) if self._byte_rate else 0.0

    def reserve(self, size: int) -> float:
        """Take the message that `take` has just refused out nevertheless.

        Returns the seconds until its turn. Those who wait have one turn each, in the order in
        which they came, and need not look again.
        """
        wait = 0.0
        if self._messages < 1:
            wait = (1 - self._messages) / self._message_rate
        if self._bytes < 0:
            wait = max(wait, -self._bytes / self._byte_rate)
        self._messages -= 1
        self._bytes -= size
        return wait

    def _refill(self, now: float) -> None:
        elapsed = now - self._updated
        self._updated = now
        self._messages = min(self._messages + elapsed * self._message_rate, self._message_burst)
        self._bytes = min(self._bytes + elapsed * self._byte_rate, self._byte_burst)

    def exceed(self, size: int) -> "Excess":
        """Count and describe what `take` has just refused."""
        if self._messages < 1:
            limit, detail = Limit.MESSAGES, f"at most {self._message_rate} messages a second"
        else:
            limit, detail = Limit.BYTES, f"at most {self._byte_rate} bytes a second"
        LIMITED.labels(limit).inc()
        return Excess(self, size, detail)


class Excess:
    """A message over a limit, to be refused with `detail`, or to wait for its turn."""

    __slots__ = ("_allowance", "_size", "detail")

    def __init__(self, allowance: Allowance, size: int, detail: str) -> None:
        self.detail = detail
        self._allowance = allowance
        self._size = size

    async def wait(self) -> None:
        """Wait until the message may be handled; call it at once, or not at all."""
        await asyncio.sleep(self._allowance.reserve(self._size))


class Allowances:
    """The allowances of a process, by whose they are."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._allowances: dict[str, Allowance] = {}
        self._idle: dict[str, float] = {}  # when the last sharer of an allowance left, in order

    def open(self, key: str) -> Allowance | None:
        """The allowance that this key has for all its sessions; None where nothing is limited."""
        if not (self._settings.messages_per_second or self._settings.bytes_per_second):
            return None
        allowance = self._allowances.get(key)
        if allowance is None:
            allowance = Allowance(self._settings, key=key, now=time.monotonic())
            self._allowances[key] = allowance
        allowance.sharers += 1
        self._idle.pop(key, None)
        return allowance

    def close(self, allowance: Allowance) -> None:
        """One session less; the last one leaves the allowance behind for a while."""
        now = time.monotonic()
        allowance.sharers -= 1
        if not allowance.sharers:
            self._idle[allowance.key] = now
        while self._idle and (oldest := next(iter(self._idle))):
            if self._idle[oldest] > now - MEMORY_SECONDS:
                break
            del self._idle[oldest]
            del self._allowances[oldest]
