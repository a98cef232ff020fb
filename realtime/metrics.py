"""What is counted, for Prometheus (`GET /metrics`).

Nothing here costs anything for each message: sessions, batches and faults are counted as they
come. Several processes on one socket share their counts in a folder that the parent names in
`PROMETHEUS_MULTIPROC_DIR`, so whichever of them is asked answers for all. The parent leaves a
record of itself there.
"""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"

SESSIONS = Gauge(
    "realtime_sessions",
    "Accepted WebSocket connections that are open",
    ["namespace"],
    multiprocess_mode="livesum",
)
LOOP_DELAY = Gauge(
    "realtime_loop_delay_seconds",
    "How late the event loop was at worst between the last two renewals of the lease",
    multiprocess_mode="livemax",
)
SESSIONS_ENDED = Counter(
    "realtime_sessions_ended", "Sessions that ended, by close code", ["namespace", "code"]
)
UNKEPT_SESSIONS = Counter(
    "realtime_unkept_sessions",
    "Ended sessions of which no row was kept, since their address, or all, had too many",
)
SLOW_SESSIONS = Counter(
    "realtime_slow_sessions",
    "Sessions that were ended since they took too long to read (policy `disconnect`)",
    ["namespace"],
)
SKIPPED_PUBLICATIONS = Counter(
    "realtime_skipped_publications",
    "Publications that a session did not get since a newer one took their place",
    ["namespace"],
)
ERRORS = Counter("realtime_errors", "Error messages to clients, by their code", ["code"])
LIMITED = Counter(
    "realtime_limited", "What was over a limit, and refused or slowed down for it", ["limit"]
)
REFUSED_REQUESTS = Counter(
    "realtime_refused_requests",
    "HTTP requests that the server refused before the application saw them, by status",
    ["status"],
)
PUBLICATIONS = Counter(
    "realtime_publications",
    "Publications by this process: accepted, duplicate (of an id), refused, unconfirmed",
    ["namespace", "result"],
)
LOSSES = Counter(
    "realtime_losses",
    "Ranges of a topic's publications that no subscriber of this process can get any more",
    ["namespace", "reason"],
)
RECOVERIES = Counter(
    "realtime_recoveries",
    "Sessions that came back with a position, by whether all since then was there",
    ["namespace", "recovered"],
)


class ServerRecord(msgspec.Struct):
    """What a server knows of itself: one process, or the parent of several with its children.

    began: when it started, in seconds since 1970.
    crashes: its processes that ended by themselves, and were replaced.
    """

    began: float = msgspec.field(default_factory=time.time)
    crashes: int = 0

    def save(self, folder: Path) -> None:
        """Leave it where the children share their counts."""
        path = folder / "server.json"
        written = path.with_suffix(".new")
        written.write_bytes(msgspec.json.encode(self))
        written.replace(path)

    @classmethod
    def load(cls, folder: Path) -> "ServerRecord":
        """The record that the parent has left."""
        return msgspec.json.decode((folder / "server.json").read_bytes(), type=cls)


_own_record = ServerRecord()


class _Figures(Collector):
    """What is known of a server as it is asked, not counted.

    `healthy`: whether each of the stores is.
    """

    def __init__(self, healthy: Mapping[str, bool]) -> None:
        self._healthy = healthy

    def collect(self) -> Iterator[Metric]:
        folder = os.environ.get(FOLDER)
        record = _own_record if folder is None else ServerRecord.load(Path(folder))
        yield GaugeMetricFamily(
            "realtime_start_time_seconds",
            "When the server started, in seconds since 1970; of several processes, their parent",
            value=record.began,
        )
        yield CounterMetricFamily(
            "realtime_process_crashes",
            "Processes of --processes that ended by themselves, and were replaced",
            value=record.crashes,
        )
        healthy = GaugeMetricFamily(
            "realtime_healthy",
            "1 where this store does what it is needed for, else 0",
            labels=["check"],
        )
        for check, is_healthy in self._healthy.items():
            healthy.add_metric([check], float(is_healthy))
        yield healthy


def render_metrics(healthy: Mapping[str, bool]) -> tuple[bytes, str]:
    """All counts as text, and the media type of it. `healthy` is what `/readyz` looks at."""
    counts = REGISTRY
    if FOLDER in os.environ:
        counts = CollectorRegistry()
        MultiProcessCollector(counts)  # type: ignore[no-untyped-call]
    figures = CollectorRegistry()
    figures.register(_Figures(healthy))
    return generate_latest(figures) + generate_latest(counts), CONTENT_TYPE_LATEST
