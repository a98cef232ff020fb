"""Runs the tests of a project, in a process of its own."""

import subprocess
import sys
from pathlib import Path

from tests.servers import ROOT, Project

OPTIONS = [
    "tests/embedded/project_tests.py",
    *("-q", "-rA", "-W", "error", "--log-level=DEBUG"),
    *("-c", "/dev/null", "--rootdir", str(ROOT), "-p", "no:cacheprovider"),
    *("--import-mode=importlib", "--ds=tests.embedded.project_settings"),
    *("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"),
]
# One process for all: most of a run's time would be the start.
CODE = """
import sys, pytest
for _ in range(int(sys.argv[1])):
    if code := pytest.main(sys.argv[2:]):
        sys.exit(code)
"""
# Only keeps a test from hanging, in seconds a run.
RUN_TIMEOUT = 60.0


def run_own_tests(folder: Path, *, runs: int = 1) -> None:
    """Fails where one of them fails, or anything in the log says that something was locked."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(runs), *OPTIONS],
        cwd=ROOT,
        env=Project(folder).full_environment,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT * (runs + 1),
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert output.count(" passed in ") == runs, output
    assert "is locked" not in output
    assert "ERROR" not in output
