"""The tests that need no server, run by Node: each file of them is one test here."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
PACKAGES = FOLDER.parents[2] / "clients" / "js" / "node_modules"
TIMEOUT = 240.0  # s, for a machine that is very busy


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.test.mjs")))
def test_every_test_of_a_file_passes_in_node(name: str) -> None:
    node = shutil.which("node", path=Path(sys.executable).parent)
    assert node, "these tests need Node, a package of requirements-dev.txt: `make test` installs it"
    assert PACKAGES.is_dir(), "these tests need the client's packages: `make test` installs them"
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", name],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    counts = dict(re.findall(r"^# (pass|fail|skipped|todo|cancelled) (\d+)$", done.stdout, re.M))
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(counts.pop("pass")) > 0
    assert set(counts.values()) == {"0"}, counts
