"""`python -m benchmarks`: measure, judge the targets, write the report."""

import argparse
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import msgspec

from benchmarks.machine import describe_machine, list_versions
from benchmarks.processes import ROOT
from benchmarks.report import Report, build_markdown, update_docs
from benchmarks.scenarios import FULL, QUICK, SCENARIOS, run_scenarios
from benchmarks.targets import judge_targets

RESULTS = Path(__file__).resolve().parent / "results"
DOCUMENT = ROOT / "docs" / "performance.md"


def main() -> int:
    """Returns the exit code: 1 where a report that was asked for does not exist."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a smoke run: under a minute, not for comparison"
    )
    parser.add_argument(
        "--only", action="append", choices=SCENARIOS, metavar="SCENARIO", help=", ".join(SCENARIOS)
    )
    parser.add_argument(
        "--update-docs",
        action="store_true",
        help="measure nothing: put the last report into docs/performance.md",
    )
    options = parser.parse_args()
    if options.update_docs:
        return _update_docs()
    signal.signal(signal.SIGTERM, _end)  # so that the servers are ended too
    report = _measure(options.only or list(SCENARIOS), quick=options.quick)
    markdown = build_markdown(report)
    # A part, or a smoke run, does not replace the last whole one.
    name = "partial" if options.only or options.quick else "latest"
    RESULTS.mkdir(exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(report), indent=2)
    (RESULTS / f"{name}.json").write_bytes(text + b"\n")
    (RESULTS / f"{name}.md").write_text(markdown)
    sys.stdout.write(f"\n{markdown}\nWritten: {RESULTS.relative_to(ROOT)}/{name}.json, .md\n")
    return 0


def _measure(names: list[str], *, quick: bool) -> Report:
    began, clock = datetime.now(UTC), time.monotonic()

    def tell(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - clock:5.0f} s  {text}\n")

    machine, versions = describe_machine(), list_versions()
    rows = run_scenarios(names, QUICK if quick else FULL, tell)
    return {
        "began": began.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - clock, 1),
        "quick": quick,
        "machine": machine,
        "versions": versions,
        "results": rows,
        "targets": judge_targets(rows),
    }


def _update_docs() -> int:
    path = RESULTS / "latest.json"
    if not path.is_file():
        sys.stderr.write("There is no report yet: run `make bench` first.\n")
        return 1
    update_docs(build_markdown(msgspec.json.decode(path.read_bytes())), DOCUMENT)
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
