"""Several servers in turn, so that what the machine does meanwhile meets all alike."""

from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.load.crowd import Crowd, pick_name
from benchmarks.load.fan_out import measure_in_flight
from benchmarks.load.job import Job

Result = dict[str, Any]


def run(job: Job) -> list[Result]:
    """Fan-out by each part's server."""
    (in_flight,) = job.in_flight
    crowds: list[Crowd] = []
    try:
        crowds += (Crowd(part, pick_name()) for part in job.parts)
        return take_turns(
            job,
            lambda index: measure_in_flight(crowds[index], job.parts[index], in_flight),
            cpu_us_by_round="server_cpu_us",
        )
    finally:
        for crowd in crowds:
            crowd.close()


def take_turns(job: Job, measure: Callable[[int], Result], **by_round: str) -> list[Result]:
    """For each part the medians of what `measure(index)` gives in all rounds.

    `by_round` names lists of one figure, a round each, that allow comparing parts in pairs.
    """
    results: list[list[Result]] = [[] for _ in job.parts]
    for number in range(job.rounds):
        # There and back, so that nobody is always the one after the same other.
        for index in sorted(range(len(results)), reverse=bool(number % 2)):
            results[index].append(measure(index))
    return [
        {
            **{name: median(result[name] for result in rounds) for name in rounds[0]},
            "part": index,
            "rounds": job.rounds,
            **{name: [result[field] for result in rounds] for name, field in by_round.items()},
        }
        for index, rounds in enumerate(results)
    ]
