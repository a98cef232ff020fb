"""From the figures of a run to text: Markdown that reads well in a terminal too."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.servers import PREBUILT

Row = dict[str, Any]
Report = dict[str, Any]
BEGIN = "<!-- benchmark: begin -->"
END = "<!-- benchmark: end -->"

Column = tuple[str, str, Callable[[float], str]]


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _digits(count: int) -> Callable[[float], str]:
    return lambda value: f"{value:,.{count}f}"


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _kilobytes(value: float) -> str:
    return f"{value / 1000:,.1f}"


FAN_OUT: tuple[Column, ...] = (
    ("in_flight", "in flight", _whole),
    ("deliveries_per_second", "deliveries/s", _whole),
    ("server_cpu_us", "CPU µs each", _digits(2)),
    ("redis_cpu_us", "Redis µs each", _digits(2)),
    ("p50_ms", "p50 ms", _digits(2)),
    ("frame_bytes", "frame bytes", _whole),
)
TITLES: dict[str, tuple[str, tuple[Column, ...]]] = {
    "fan-out-200": ("Fan-out to {subscribers:,} subscribers", FAN_OUT),
    "history": ("What history costs: fan-out to {subscribers:,} in {rounds} turns each", FAN_OUT),
    "fan-out-3000": ("Fan-out to {subscribers:,} subscribers", FAN_OUT),
    "publish": (
        "Publishing with acks, without subscribers",
        (
            ("in_flight", "in flight each", _whole),
            ("publications_per_second", "publications/s", _whole),
            ("server_cpu_us", "CPU µs each", _digits(1)),
            ("redis_cpu_us", "Redis µs each", _digits(1)),
        ),
    ),
    "recovery": (
        "Recovery: {connections:,} clients of a killed instance come back to another at once, "
        "{missed} publications behind",
        (
            ("recovery_seconds", "all live after s", _digits(2)),
            ("recoveries_per_second", "clients/s", _whole),
            ("connects_per_second", "plain connects/s", _whole),
            ("against_connects", "ratio", _digits(2)),
            ("server_cpu_us", "CPU µs each", _whole),
            ("connect_cpu_us", "plain CPU µs each", _whole),
            ("redis_cpu_us", "Redis µs each", _whole),
            ("history_reads", "XRANGE calls", _whole),
        ),
    ),
    "latency": (
        "Latency of a delivery at {rate:g} publications/s to {subscribers} subscribers",
        (
            ("p50_ms", "p50 ms", _digits(2)),
            ("p99_ms", "p99 ms", _digits(2)),
            ("p99.9_ms", "p99.9 ms", _digits(2)),
            ("server_cpu_us", "CPU µs each", _digits(2)),
            ("redis_cpu_us", "Redis µs each", _digits(2)),
        ),
    ),
    "echo": (
        "Echo, {connections} connections with one message under way each",
        (
            ("messages_per_second", "messages/s", _whole),
            ("server_cpu_us", "CPU µs each", _digits(1)),
        ),
    ),
    "idle": (
        "Idle connections",
        (
            ("connections", "connections", _whole),
            ("connects_per_second", "connects/s", _whole),
            ("server_cpu_us", "CPU µs each", _whole),
            ("uss_bytes", "USS KB each", _kilobytes),
            ("rss_bytes", "RSS KB each", _kilobytes),
            ("held", "held at last", _whole),
        ),
    ),
    "sessions": (
        "What tracking costs: {connections:,} sessions come and go in {rounds} turns each",
        (
            ("connects_per_second", "connects/s", _whole),
            ("connect_cpu_us", "CPU µs a connect", _whole),
            ("session_cpu_us", "CPU µs a session", _whole),
        ),
    ),
    "arrays": (
        "Arrays of 8 MB, two under way, to one subscriber",
        (
            ("mb_per_second", "MB/s", _whole),
            ("server_cpu_ms", "CPU ms each", _digits(1)),
            ("redis_cpu_ms", "Redis ms each", _digits(1)),
            ("peak_copies", "peak memory, copies", _digits(1)),
        ),
    ),
}


def build_markdown(report: Report) -> str:
    """The whole report."""
    machine, versions = report["machine"], report["versions"]
    parts = [
        f"Measured {report['began'][:10]} on {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB, {machine['kernel']}, {machine['python']}, in "
        f"{report['seconds']:.0f} s, load average {machine['load_before']} before"
        f"{' (a quick run: not for comparison)' * report['quick']}. "
        "Versions: " + ", ".join(f"{name} {text}" for name, text in versions.items()) + ".",
    ]
    for scenario, (title, columns) in TITLES.items():
        rows = [row for row in report["results"] if row["scenario"] == scenario]
        if rows:
            parts += _build_section(title, columns, rows)
    parts += ["### Targets", _build_targets(report["targets"])]
    return "\n\n".join(parts) + "\n"


def update_docs(markdown: str, path: Path) -> None:
    """Put the report between the two markers of a document; raises ValueError without them."""
    text = path.read_text()
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{path} has no {BEGIN} and {END}")
    path.write_text(pattern.sub(lambda _: f"{BEGIN}\n\n{markdown}\n{END}", text))


def _build_section(title: str, columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    measured = [row for row in rows if "error" not in row]
    failed = [row for row in rows if "error" in row]
    parts = ["### " + (title.format(**measured[0]) if measured else title.partition("{")[0])]
    if measured:
        table = [["server", *(name for _, name, _ in columns), "generator"]]
        for row in measured:
            cells = [_show(row.get(field), show) for field, _, show in columns]
            share = _percent(row["generator_share"])
            mark = " (generator bound)" if row["generator_bound"] else ""
            table.append([_find_name(row), *cells, share + mark])
        parts.append(_build_table(table))
    parts += [f"Not measured: {_find_name(row)}: {row['error']}." for row in failed]
    return parts


def _show(value: float | None, show: Callable[[float], str]) -> str:
    return "" if value is None else show(value)


def _build_targets(targets: Sequence[Row]) -> str:
    table = [["target", "wanted", "measured", ""]]
    for target in targets:
        if target["met"] is None:
            table.append([target["name"], target["target"], target["why"], "not measured"])
            continue
        measured = target["measured"]
        text = f"{measured:,.0f}" if measured >= 100 else f"{measured:.2f}"
        verdict = "met" if target["met"] else "**not met**"
        table.append([target["name"], target["target"], text + target["unit"], verdict])
    return _build_table(table)


def _build_table(table: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]

    def build_line(row: Sequence[str]) -> str:
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "| " + " | ".join([first, *rest]) + " |"

    rule = [f"{'-' * widths[0]}", *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([build_line(table[0]), build_line(rule), *map(build_line, table[1:])])


def _find_name(row: Row) -> str:
    name = str(row["server"])
    label = row.get("label")
    return f"*{name}*" if name == PREBUILT else f"{name} ({label})" if label else name
