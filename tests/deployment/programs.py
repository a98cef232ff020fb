"""The real nginx and Prometheus, run with the files of `deploy/`."""

import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.servers import ROOT, START_TIMEOUT, STOP_TIMEOUT

DEPLOY = ROOT / "deploy"
# Where `make tools` unpacks Debian's packages on machines that do not have them.
UNPACKED = ROOT / ".venv" / "tools"


def find_program(name: str) -> str:
    """The path of an installed or unpacked program; fails where there is none."""
    for folder in (None, *(UNPACKED / "usr" / each for each in ("sbin", "bin")), "/usr/sbin"):
        if path := shutil.which(name, path=None if folder is None else str(folder)):
            return path
    raise AssertionError(f"{name} is neither installed nor unpacked: run `make tools`")


class Program:
    """A process that runs until `stop()`; what it writes is in `log`."""

    def __init__(self, command: Sequence[str], *, log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def wait_for(self, sign: Path) -> None:
        """Wait until a file is there, which says that it has started."""
        deadline = time.monotonic() + START_TIMEOUT
        while not sign.exists() or not sign.read_bytes():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """End it at once."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_TIMEOUT)
