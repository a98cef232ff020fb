"""What is counted, for Prometheus (`GET /metrics`).

Nothing here costs anything for each message: sessions, batches and faults are counted as they
come. Several processes on one socket share their counts in a folder that the parent names in
`PROMETHEUS_MULTIPROC_DIR`, so whichever of them is asked answers for all.
"""

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

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
    "Publications by this process: accepted, duplicate (of an id), unconfirmed",
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


def render_metrics() -> tuple[bytes, str]:
    """All counts as text, and the media type of it."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
