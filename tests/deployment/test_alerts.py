"""The shipped alerts, in a real Prometheus: each fires for what it is about, and only then."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.deployment.programs import find_program
from tests.deployment.prometheus import RULES, Prometheus, run_rule_tests
from tests.server.processes import children, serving, wait_until
from tests.servers import Project, RedisServer, Server

INSTANCE = 'instance="one", job="realtime"'
BEGAN = f"realtime_start_time_seconds{{{INSTANCE}}}"
CRASHES = f"realtime_process_crashes_total{{{INSTANCE}}}"
DATABASE = f'realtime_healthy{{{INSTANCE}, check="database"}}'


def build_case(
    alert: str, series: dict[str, str], *, at: str, fires: bool, **labels: str
) -> dict[str, Any]:
    """Whether an alert fires at a time, with a value of each series every 15 s."""
    summaries = {
        "RealtimeRestarts": "one ends and begins anew again and again",
        "RealtimeDatabase": "one does not reach its database",
    }
    actions = {rule["alert"]: rule["annotations"]["action"] for rule in _read_rules()}
    expected = {
        "exp_labels": {"severity": "page", "instance": "one", "job": "realtime", **labels},
        "exp_annotations": {"summary": summaries[alert], "action": actions[alert]},
    }
    return {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": at, "alertname": alert, "exp_alerts": [expected] if fires else []}
        ],
    }


def _read_rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def test_the_rules_are_understood() -> None:
    done = subprocess.run(
        [find_program("promtool"), "check", "rules", str(RULES)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("series", "fires"),
    [
        pytest.param({CRASHES: "0 1 2 3 4 5 5x40"}, True, id="a child that crashes all the time"),
        pytest.param(
            {BEGAN: "10 20 30 40 50 50x40"}, True, id="a server that crashes all the time"
        ),
        pytest.param({CRASHES: "0x10 1x40"}, False, id="one crash"),
        pytest.param(
            {BEGAN: "10x12 20x12 30x12 30x20", CRASHES: "0x60"}, False, id="three releases in a row"
        ),
        pytest.param(
            {BEGAN: "10x12 20x40", CRASHES: "5x12 0x40"}, False, id="a restart after some crashes"
        ),
    ],
)
def test_restarts_are_told_when_nobody_asked_for_them(
    series: dict[str, str], fires: bool, tmp_path: Path
) -> None:
    case = build_case("RealtimeRestarts", series, at="9m", fires=fires)
    run_rule_tests(tmp_path, [case])


@pytest.mark.parametrize(
    ("values", "fires"),
    [
        pytest.param("1x4 0x40", True, id="away"),
        pytest.param("1x30 0x2 1x20", False, id="away for a moment"),
        pytest.param("1x60", False, id="there"),
    ],
)
def test_a_database_that_is_away_is_told(values: str, fires: bool, tmp_path: Path) -> None:
    case = build_case(
        "RealtimeDatabase", {DATABASE: values}, at="8m30s", fires=fires, check="database"
    )
    run_rule_tests(tmp_path, [case])


@pytest.fixture
def watched(
    make_project: Callable[..., Project], redis: RedisServer, launch: Callable[..., Server]
) -> Server:
    """Two processes, with a Redis."""
    return launch(make_project(REDIS_URL=redis.url), "serve", "--processes", "2")


@pytest.fixture
def prometheus(watched: Server, tmp_path: Path) -> Iterator[Prometheus]:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    prometheus = Prometheus(folder, watched)
    prometheus.wait_for_scrape()
    yield prometheus
    prometheus.stop()


def test_a_child_that_crashes_all_the_time_raises_an_alert(
    watched: Server, prometheus: Prometheus
) -> None:
    wait_until(lambda: serving(watched) == 2)
    for _ in range(4):
        victim = min(children(watched))
        psutil.Process(victim).kill()
        wait_until(lambda gone=victim: gone not in children(watched) and serving(watched) == 2)
    prometheus.wait_for_alert("RealtimeRestarts")
    assert prometheus.read_alerts() == {"RealtimeRestarts"}


def test_a_database_that_is_away_raises_an_alert(watched: Server, prometheus: Prometheus) -> None:
    database = watched.project.folder / "db.sqlite3"
    # Moved, not written over: connections that are open go on writing to the old file.
    database.rename(watched.project.folder / "away.sqlite3")
    for part in watched.project.folder.glob("db.sqlite3-*"):
        part.unlink(missing_ok=True)  # the last connection takes it along
    database.write_bytes(b"this is no database at all\n" * 1000)
    prometheus.wait_for_alert("RealtimeDatabase")
