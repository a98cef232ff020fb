"""The limits of a process: who is let in, and how much a session may send."""

import time
from dataclasses import dataclass

from realtime.conf import MIB, Settings
from realtime.core.addresses import group_address, name_sender
from realtime.core.rates import Rates
from realtime.limits.allowances import BURST_SECONDS, Allowance, Allowances
from realtime.limits.connections import Connections, open_connections
from realtime.limits.handshakes import Handshakes
from realtime.limits.kinds import Limit
from realtime.limits.memory import HeldMemory
from realtime.metrics import LIMITED
from realtime.sessions import Session

# A topic takes up to 6 MiB, and somebody has to be able to read its statistics.
LEAST_STATISTICS = 16 * MIB
# Many tokens are being looked at before the first of them is found to be no good; an address pays
# for those as well, and has done so after this time without more of them.
DEBT_SECONDS = 30


def open_memory(settings: Settings) -> HeldMemory:
    """The bounds on unfinished and waiting input that these settings mean.

    However low they are, a message of the longest kind fits, with the next one behind it.
    """
    longest = max(settings.max_binary_bytes, settings.max_text_bytes, settings.frame_limit)
    return HeldMemory(
        per_owner=settings.input_bytes_per_user and max(settings.input_bytes_per_user, 2 * longest),
        per_process=settings.input_bytes and max(settings.input_bytes, 2 * longest),
    )


def open_sample_memory(settings: Settings) -> HeldMemory:
    """The bound on the samples that statistics are made of; those of a few topics always fit."""
    return HeldMemory(
        per_process=settings.statistics_bytes and max(settings.statistics_bytes, LEAST_STATISTICS),
        limit=Limit.STATISTICS,
    )


@dataclass(slots=True)
class _Place:
    """What a session takes up."""

    subjects: tuple[str, ...] = ()  # whose connection it is, as far as that is counted
    allowance: Allowance | None = None


class Limits:
    """Asked at each handshake, and once for each session that begins; `release()` each session."""

    def __init__(self, settings: Settings, *, instance: str) -> None:
        self._settings = settings
        self._connections: Connections = open_connections(settings, instance=instance)
        self._allowances = Allowances(settings)
        self._places: dict[Session, _Place] = {}
        self.memory = open_memory(settings)
        self.samples = open_sample_memory(settings)
        rate = settings.handshakes_per_second
        self._handshakes = Handshakes(rate, now=time.monotonic()) if rate else None
        rate = settings.bad_tokens_per_second
        self._bad_tokens = Rates(rate, burst=rate * BURST_SECONDS)

    def admit_handshake(self, connections: int, *, address: str) -> bool:
        """Whether the process takes one more handshake now, with so many connections open."""
        most = self._settings.connections_per_process
        if most and connections > most:
            LIMITED.labels(Limit.CONNECTIONS_PER_PROCESS).inc()
            return False
        if self._handshakes is not None and not self._handshakes.take(address, time.monotonic()):
            LIMITED.labels(Limit.HANDSHAKES).inc()
            return False
        return True

    def note_bad_token(self, address: str) -> None:
        """Count a token that was looked at, and was no good."""
        most = self._settings.bad_tokens_per_second * DEBT_SECONDS
        self._bad_tokens.spend(group_address(address), time.monotonic(), most_debt=most)

    def find_token_wait(self, address: str) -> float:
        """For how many more seconds an address has to show tokens of this server; else 0."""
        return self._bad_tokens.find_wait(group_address(address), time.monotonic())

    async def admit(self, session: Session) -> str | None:
        """Count a connection for its address and, once that is known, its user.

        Called again when the user becomes known. Returns the limit that the connection would be
        over, and does not count it then; else None. Never waits longer than `history_timeout`.
        """
        place = self._places.setdefault(session, _Place())
        asked = {
            subject: (limit, most)
            for subject, limit, most in self._find_subjects(session)
            if most and subject not in place.subjects
        }
        over = await self._connections.admit([(s, most) for s, (_, most) in asked.items()])
        if over is None:
            place.subjects += tuple(asked)
            return None
        limit, most = asked[over]
        LIMITED.labels(limit).inc()
        return f"at most {most} connections for each {over.partition(' ')[0]}"

    def open_allowance(self, session: Session) -> Allowance | None:
        """What a session that begins may send, in common with others of its user or address."""
        allowance = self._allowances.open(name_sender(session.user_id, session.address))
        if allowance is not None:
            self._places.setdefault(session, _Place()).allowance = allowance
        return allowance

    def refuse_message(self, *, user_id: str | None, address: str, size: int) -> str | None:
        """Take a message of so many bytes that came without a session, as over REST.

        It comes out of the allowance that the sessions of its user, or else address, have in
        common. Returns what it would be over, and takes nothing then; else None.
        """
        allowance = self._allowances.open(name_sender(user_id, address))
        if allowance is None:
            return None
        try:
            if allowance.take(size, time.monotonic()):
                return None
            return allowance.exceed(size).detail
        finally:
            self._allowances.close(allowance)

    def charge(self, session: Session, seconds: float) -> None:
        """Take out of a session's allowance for so much work that a message of it has made."""
        place = self._places.get(session)
        if place is not None and place.allowance is not None:
            place.allowance.charge(seconds)

    def charge_sender(self, *, user_id: str | None, address: str, seconds: float) -> None:
        """The same for what came without a session."""
        allowance = self._allowances.open(name_sender(user_id, address))
        if allowance is not None:
            allowance.charge(seconds)
            self._allowances.close(allowance)

    def release(self, session: Session) -> None:
        """Count a session no longer; nothing happens where it never was."""
        place = self._places.pop(session, None)
        if place is None:
            return
        self._connections.release(place.subjects)
        if place.allowance is not None:
            self._allowances.close(place.allowance)

    async def share_forever(self) -> None:
        """Count together with the other instances, until cancelled."""
        await self._connections.share_forever()

    async def close(self) -> None:
        """Take back what this instance has counted."""
        await self._connections.close()

    def _find_subjects(self, session: Session) -> list[tuple[str, Limit, int]]:
        subjects = []
        if session.user_id is not None:
            most = self._settings.connections_per_user
            subjects.append((f"user {session.user_id}", Limit.CONNECTIONS_PER_USER, most))
        address = f"address {group_address(session.address)}"
        most = self._settings.connections_per_address
        subjects.append((address, Limit.CONNECTIONS_PER_ADDRESS, most))
        return subjects
