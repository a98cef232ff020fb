"""Runs the tests of a project, in a process of its own."""

import subprocess
import sys
from pathlib import Path

from tests.servers import ROOT, START_TIMEOUT, Project


def run_own_tests(folder: Path) -> None:
    """Fails where one of them fails, or anything in the log says that something was locked."""
    project = Project(folder)
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pytest",
                "tests/embedded/project_tests.py",
                "-q",
                "-W",
                "error",
            ),
            *("-c", "/dev/null", "--rootdir", str(ROOT), "-p", "no:cacheprovider"),
            *("--import-mode=importlib", "--ds=tests.embedded.project_settings"),
            *("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"),
            *("-rA", "--log-level=DEBUG"),
        ],
        cwd=ROOT,
        env=project.full_environment,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "is locked" not in output
    assert "ERROR" not in output
