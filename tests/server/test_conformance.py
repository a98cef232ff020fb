"""The Autobahn conformance cases, which `kosoku` runs on Python 3, against the echo endpoint."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.servers import Project, Server

KOSOKU = Path(sys.executable).with_name("kosoku")
NOT_OFFERED = ("-x", "12.*", "-x", "13.*")  # compression
CASES = 301
PASSED = ("OK", "NON-STRICT", "INFORMATIONAL")
LARGEST = str(32 * 1024 * 1024)


def test_no_case_of_the_autobahn_suite_fails(
    make_project: Callable[..., Project], launch: Callable[..., Server], tmp_path: Path
) -> None:
    project = make_project(
        REALTIME_ECHO_POLICY="anyone",
        REALTIME_MESSAGES_PER_SECOND="0",
        REALTIME_BYTES_PER_SECOND="0",
        REALTIME_HANDSHAKES_PER_SECOND="0",
        REALTIME_MAX_TEXT_BYTES=LARGEST,
        REALTIME_MAX_FRAME_BYTES=LARGEST,
        REALTIME_MAX_BINARY_BYTES=LARGEST,
    )
    server = launch(project, "serve")
    # A process of its own: it brings a stand-in for the autobahn that daphne has imported here.
    run = subprocess.run(
        [KOSOKU, "-p", "4", *NOT_OFFERED, "-o", tmp_path, f"127.0.0.1:{server.port}/ws/echo/"],
        capture_output=True,
        text=True,
        timeout=400,
    )
    (results,) = json.loads((tmp_path / "index.json").read_text()).values()
    failed = {
        case: result
        for case, result in results.items()
        if result["behavior"] not in PASSED or result["behaviorClose"] not in PASSED
    }
    assert failed == {}, run.stderr
    assert len(results) == CASES
    assert run.returncode == 0
