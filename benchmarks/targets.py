"""What this server sets out to reach, as ratios within one run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.servers import (
    BROADCAST,
    BUN,
    CHANNELS,
    OURS_JOINED,
    OURS_MEMORY,
    OURS_NO_HISTORY,
    OURS_REDIS,
    OURS_UNTRACKED,
)

Row = dict[str, Any]
RATE = "deliveries_per_second"
CPU = "server_cpu_us"


class Missing(LookupError):
    """A target needs a figure that this run does not have."""


class Rows:
    """Finds figures in the rows of a run."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def get(self, field: str, scenario: str, server: str, **wanted: object) -> float:
        """The figure of the one row that fits; raises Missing."""
        figure = self._find(scenario, server, **wanted)[field]
        if figure is None or math.isnan(figure):
            raise Missing(f"{server}: too few figures")
        return float(figure)

    def compare(self, field: str, scenario: str, ours: str, peer: str, **wanted: object) -> float:
        """Ours by the peer's."""
        return self.get(field, scenario, ours, **wanted) / self.get(field, scenario, peer, **wanted)

    def compare_by_round(self, field: str, scenario: str, ours: str, peer: str) -> float:
        """Ours by the peer's in each round; the median of these."""
        pairs = zip(
            self._find(scenario, ours)[field], self._find(scenario, peer)[field], strict=True
        )
        ratio: float = median(of_ours / of_peer for of_ours, of_peer in pairs)
        return ratio

    def _find(self, scenario: str, server: str, **wanted: object) -> Row:
        wanted = {"scenario": scenario, "server": server, **wanted}
        for row in self._rows:
            if all(row.get(name) == value for name, value in wanted.items()):
                if "error" in row:
                    raise Missing(f"{server}: {row['error']}")
                return row
        raise Missing("not measured in this run")


@dataclass(frozen=True)
class Target:
    """`measure` has to be at least, or at most, `limit`."""

    name: str
    limit: float
    measure: Callable[[Rows], float]
    at_most: bool = False
    unit: str = "×"

    def judge(self, rows: Rows) -> Row:
        """The target, what was measured, and whether it is met (None: not measured)."""
        sign = "≤" if self.at_most else "≥"
        result: Row = {"name": self.name, "target": f"{sign} {self.limit:,g}{self.unit}"}
        try:
            measured = self.measure(rows)
        except Missing as error:
            return {**result, "measured": None, "met": None, "why": str(error)}
        met = measured <= self.limit if self.at_most else measured >= self.limit
        return {**result, "measured": measured, "unit": self.unit, "met": met}


def judge_targets(rows: Sequence[Row]) -> list[Row]:
    """Every target, judged."""
    return [target.judge(Rows(rows)) for target in TARGETS]


def _faster(scenario: str, ours: str, peer: str, in_flight: int) -> Callable[[Rows], float]:
    return lambda rows: rows.compare(RATE, scenario, ours, peer, in_flight=in_flight)


def _cheaper(scenario: str, ours: str, peer: str, **wanted: object) -> Callable[[Rows], float]:
    return lambda rows: 1 / rows.compare(CPU, scenario, ours, peer, **wanted)


def _slower(ours: str) -> Callable[[Rows], float]:
    return lambda rows: rows.compare("p50_ms", "fan-out-200", ours, BROADCAST, in_flight=1)


def _dearer(peer: str) -> Callable[[Rows], float]:
    return lambda rows: rows.compare_by_round("cpu_us_by_round", "history", OURS_REDIS, peer)


FAN = "fan-out-200"
TARGETS = (
    Target(
        "Fan-out 200, 16 in flight, Redis: less CPU per delivery than Channels",
        80,
        _cheaper(FAN, OURS_REDIS, CHANNELS, in_flight=16),
    ),
    Target(
        "Fan-out 200, 16 in flight, Redis: more deliveries/s than Channels",
        60,
        _faster(FAN, OURS_REDIS, CHANNELS, 16),
    ),
    Target(
        "Fan-out 200, 16 in flight, Redis: less CPU per delivery than websockets.broadcast",
        2.5,
        _cheaper(FAN, OURS_REDIS, BROADCAST, in_flight=16),
    ),
    Target(
        "Fan-out 200, 16 in flight, Redis: more deliveries/s than websockets.broadcast",
        2.5,
        _faster(FAN, OURS_REDIS, BROADCAST, 16),
    ),
    Target(
        "Fan-out 200, 16 in flight, in memory: less CPU per delivery than websockets.broadcast",
        3.5,
        _cheaper(FAN, OURS_MEMORY, BROADCAST, in_flight=16),
    ),
    Target(
        "Fan-out 200, 16 in flight, in memory: more deliveries/s than websockets.broadcast",
        3.5,
        _faster(FAN, OURS_MEMORY, BROADCAST, 16),
    ),
    Target(
        "Fan-out 200, 4 in flight, Redis: less CPU per delivery than websockets.broadcast",
        1.3,
        _cheaper(FAN, OURS_REDIS, BROADCAST, in_flight=4),
    ),
    Target(
        "Fan-out 200, 4 in flight, Redis: more deliveries/s than websockets.broadcast",
        1.3,
        _faster(FAN, OURS_REDIS, BROADCAST, 4),
    ),
    Target(
        "Fan-out 200, 1 in flight, in memory: p50 latency against websockets.broadcast",
        1.5,
        _slower(OURS_MEMORY),
        at_most=True,
    ),
    Target(
        "Fan-out 200, 1 in flight, Redis: p50 latency against websockets.broadcast",
        3,
        _slower(OURS_REDIS),
        at_most=True,
    ),
    Target(
        "Fan-out 3,000, 1 in flight, Redis: more deliveries/s than Channels",
        15,
        _faster("fan-out-3000", OURS_REDIS, CHANNELS, 1),
    ),
    Target(
        "Fan-out 200, 16 in flight, in memory: CPU per delivery against Bun",
        1.0,
        lambda rows: rows.compare(CPU, FAN, OURS_MEMORY, BUN, in_flight=16),
        at_most=True,
    ),
    Target(
        "Fan-out 200, 16 in flight, Redis: CPU per delivery, history against history_size = 0",
        1.15,
        _dearer(OURS_NO_HISTORY),
        at_most=True,
    ),
    Target(
        "Fan-out 200, 16 in flight, Redis: CPU per delivery, history against group_send for each, "
        "joined",
        0.6,
        _dearer(OURS_JOINED),
        at_most=True,
    ),
    Target("Echo: less CPU per message than Channels", 8, _cheaper("echo", OURS_MEMORY, CHANNELS)),
    Target(
        "Echo: less CPU per message than websockets (asyncio, uvloop)",
        1.5,
        _cheaper("echo", OURS_MEMORY, BROADCAST),
    ),
    Target(
        "Memory of an idle signed-in session",
        18,
        lambda rows: rows.get("uss_bytes", "idle", OURS_MEMORY, label="topics") / 1000,
        at_most=True,
        unit=" KB",
    ),
    Target(
        "Idle sessions held by one process",
        10_000,
        lambda rows: rows.get("held", "idle", OURS_MEMORY, label="topics"),
        unit="",
    ),
    Target(
        "Connects/s (echo, anonymous) against Channels on daphne",
        2,
        lambda rows: rows.compare(
            "connects_per_second", "idle", OURS_MEMORY, CHANNELS, label="echo"
        ),
    ),
    Target(
        "Connects/s (signed in), sessions tracked against not tracked",
        0.9,
        lambda rows: rows.compare_by_round(
            "connects_by_round", "sessions", OURS_MEMORY, OURS_UNTRACKED
        ),
    ),
    Target(
        "8 MB arrays, in memory: more MB/s than websockets",
        1.5,
        lambda rows: rows.compare("mb_per_second", "arrays", OURS_MEMORY, BROADCAST),
    ),
    Target(
        "8 MB arrays, in memory: most memory that one array takes",
        3,
        lambda rows: rows.get("peak_copies", "arrays", OURS_MEMORY),
        at_most=True,
        unit=" copies",
    ),
)
