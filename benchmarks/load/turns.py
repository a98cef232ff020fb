"""Fan-out by several servers in turn, so that what the machine does meanwhile meets all alike."""

from statistics import median
from typing import Any

from benchmarks.load.crowd import Crowd, pick_name
from benchmarks.load.fan_out import measure_in_flight
from benchmarks.load.job import Job


def run(job: Job) -> list[dict[str, Any]]:
    """For each part the medians of all rounds; `cpu_us_by_round` allows comparing in pairs."""
    (in_flight,) = job.in_flight
    crowds: list[Crowd] = []
    try:
        crowds += (Crowd(part, pick_name()) for part in job.parts)
        results: list[list[dict[str, Any]]] = [[] for _ in crowds]
        for number in range(job.rounds):
            # There and back, so that nobody is always the one after the same other.
            for index in sorted(range(len(crowds)), reverse=bool(number % 2)):
                results[index].append(measure_in_flight(crowds[index], job.parts[index], in_flight))
    finally:
        for crowd in crowds:
            crowd.close()
    return [
        {
            **{name: median(result[name] for result in rounds) for name in rounds[0]},
            "part": index,
            "rounds": job.rounds,
            "cpu_us_by_round": [result["server_cpu_us"] for result in rounds],
        }
        for index, rounds in enumerate(results)
    ]
