"""The tests of a project that adds this package, as the project runs them."""

from pathlib import Path

from tests.embedded.own_tests import run_own_tests


def test_a_projects_own_tests_with_sockets_run_on_sqlite_in_memory_without_a_lock(
    tmp_path: Path,
) -> None:
    run_own_tests(tmp_path)
