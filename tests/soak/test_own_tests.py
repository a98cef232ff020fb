"""The tests of a project on SQLite in memory, fifty times: a lock comes by chance."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.embedded.own_tests import run_own_tests

PROCESSES, RUNS = 2, 25  # two beside each other: threads take turns otherwise


def test_fifty_runs_of_a_projects_own_tests_meet_no_lock(
    tmp_path: Path, report: Callable[[str], None]
) -> None:
    folders = [tmp_path / str(number) for number in range(PROCESSES)]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(PROCESSES) as pool:
        list(pool.map(lambda folder: run_own_tests(folder, runs=RUNS), folders))
    report(f"{PROCESSES * RUNS} runs, no lock")
