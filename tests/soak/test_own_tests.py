"""The tests of a project on SQLite in memory, fifty times: a lock comes by chance."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.embedded.own_tests import run_own_tests

RUNS = 50


def test_fifty_runs_of_a_projects_own_tests_meet_no_lock(
    tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]
) -> None:
    folders = [tmp_path_factory.mktemp("project") for _ in range(RUNS)]
    with ThreadPoolExecutor(2) as pool:  # beside each other: threads take turns otherwise
        list(pool.map(run_own_tests, folders))
    report(f"{RUNS} runs, no lock")
