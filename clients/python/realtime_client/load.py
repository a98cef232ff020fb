"""Publish at a steady rate over several connections, and measure how long the acks take."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from realtime_client.config import Config
from realtime_client.errors import ClientError
from realtime_client.stream import Stream, connect
from realtime_client.tokens import Token


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a load is."""

    seconds: float
    total_seconds: float
    confirmed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a load came to. Times from publish to ack are in milliseconds."""

    connections: int
    seconds: float
    confirmed: int
    failed: dict[str, int]
    per_second: float
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None

    def describe(self) -> dict[str, Any]:
        """All of it as JSON can have it."""
        return asdict(self)


async def run_load(
    url: str,
    *,
    token: Token,
    connections: int,
    rate: float,
    seconds: float,
    config: Config | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Publish `rate` times a second in all, for so many seconds; raises ConnectionEnded.

    A publication that is not confirmed is a failure of its kind, and the load goes on.
    """
    streams = [
        connect(url, token=token, subscribe=False, config=config) for _ in range(connections)
    ]
    times: list[float] = []
    failed: Counter[str] = Counter()
    try:
        await asyncio.gather(*(stream.open() for stream in streams))
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                due = began + number / rate
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                    gone = time.perf_counter() - began
                    on_progress(Progress(gone, seconds, len(times), failed.total()))
                stream = streams[number % connections]
                group.create_task(_publish(stream, number, times, failed))
        gone = time.perf_counter() - began
    finally:
        await asyncio.gather(*(stream.close() for stream in streams))
    times.sort()
    return Result(
        connections=connections,
        seconds=round(gone, 3),
        confirmed=len(times),
        failed=dict(failed),
        per_second=round(len(times) / gone, 1),
        p50_ms=_find_quantile(times, 0.5),
        p99_ms=_find_quantile(times, 0.99),
        max_ms=_find_quantile(times, 1.0),
    )


async def _publish(stream: Stream, number: int, times: list[float], failed: Counter[str]) -> None:
    began = time.perf_counter()
    try:
        await stream.publish({"value": float(number)})
    except ClientError as error:
        failed[type(error).__name__] += 1
    else:
        times.append(time.perf_counter() - began)


def _find_quantile(times: list[float], share: float) -> float | None:
    """In milliseconds, of sorted seconds."""
    if not times:
        return None
    return round(times[min(int(len(times) * share), len(times) - 1)] * 1000, 3)
