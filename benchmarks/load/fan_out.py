"""Fan-out with n publications in flight, and at a fixed rate."""

import time
from array import array
from typing import Any

from benchmarks.load.crowd import Crowd, pick_name
from benchmarks.load.job import Job
from benchmarks.load.wire import LoadError
from benchmarks.measure import Usage, find_percentile

DRAIN_TIMEOUT = 60.0
# A server may take seconds for one message to thousands; half a message is no measurement.
FINISH_TIMEOUT = 25.0
# At a fixed rate, so many seconds behind is not keeping up.
MAX_BEHIND_SECONDS = 1.0


def run_in_flight(job: Job) -> list[dict[str, Any]]:
    """For each n: the next message is sent when all have got the one n before it."""
    crowd = Crowd(job, pick_name())
    try:
        return [measure_in_flight(crowd, job, in_flight) for in_flight in job.in_flight]
    finally:
        crowd.close()


def run_rate(job: Job) -> list[dict[str, Any]]:
    """Publish at a fixed rate, whatever has arrived; every delivery's latency counts."""
    crowd = Crowd(job, pick_name())
    try:
        return [_measure_rate(crowd, job)]
    finally:
        crowd.close()


def measure_in_flight(crowd: Crowd, job: Job, in_flight: int) -> dict[str, Any]:
    """One stretch of `seconds`; all that was published has reached everybody at its end."""
    latencies: list[float] = []

    def push(seconds: float, grace: float = 0) -> None:
        """Keep publishing; with a grace, until a message has reached everybody after that."""
        end = time.monotonic() + seconds
        level = crowd.level
        while (now := time.monotonic()) < end + grace:
            free = in_flight - (len(crowd.ends) - crowd.level)
            if free > 0:
                crowd.publish(free)
            crowd.take(end + grace - now)
            if crowd.level > level:
                now = time.monotonic()
                latencies.extend(now - sent for sent in crowd.sent_at[level : crowd.level])
                level = crowd.level
                if now >= end:
                    return

    push(job.warmup)
    latencies.clear()
    before, watch = sum(crowd.counts), job.start_watch()
    push(job.seconds, FINISH_TIMEOUT)
    usage, deliveries = watch.read(), sum(crowd.counts) - before
    crowd.drain(DRAIN_TIMEOUT)
    return {
        "in_flight": in_flight,
        "p50_ms": find_percentile(latencies, 50) * 1000,
        **_describe(crowd, job, usage, deliveries),
    }


def _measure_rate(crowd: Crowd, job: Job) -> dict[str, Any]:
    latencies = array("d")
    sent_at = crowd.sent_at

    def deliver(before: int, after: int, now: float) -> None:
        for number in range(before, after):
            latencies.append(now - sent_at[number])

    def push(seconds: float) -> float:
        """Publish on time; returns by how much a message was late at most."""
        lateness, began = 0.0, time.monotonic()
        for step in range(int(seconds * job.rate)):
            due = began + step / job.rate
            while (left := due - time.monotonic()) > 0:
                crowd.take(left, deliver)
            lateness = max(lateness, -left)
            crowd.publish(1)
            if len(crowd.ends) - crowd.level > job.rate * MAX_BEHIND_SECONDS:
                raise LoadError(f"did not keep up with {job.rate:g} publications a second")
        return lateness

    push(job.warmup)
    crowd.drain(DRAIN_TIMEOUT)
    del latencies[:]
    watch = job.start_watch()
    lateness = push(job.seconds)
    usage = watch.read()
    deadline = time.monotonic() + 5
    while crowd.level < len(crowd.ends) and time.monotonic() < deadline:
        crowd.take(0.1, deliver)
    crowd.drain(DRAIN_TIMEOUT)
    return {
        "rate": job.rate,
        **{f"p{p:g}_ms": find_percentile(latencies, p) * 1000 for p in (50, 99, 99.9)},
        "sent_late_ms": lateness * 1000,
        **_describe(crowd, job, usage, len(latencies)),
    }


def _describe(crowd: Crowd, job: Job, usage: Usage, deliveries: int) -> dict[str, Any]:
    return {
        "subscribers": job.connections,
        "deliveries": deliveries,
        "deliveries_per_second": deliveries / usage.seconds,
        "server_cpu_us": usage.server / max(deliveries, 1) * 1e6,
        "redis_cpu_us": usage.redis / max(deliveries, 1) * 1e6,
        "frame_bytes": crowd.frame_bytes,
        "generator_share": usage.generator_share,
    }
