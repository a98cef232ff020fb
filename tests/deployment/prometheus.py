"""A real Prometheus with the shipped rules, watching a real server."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import yaml

from tests.deployment.programs import DEPLOY, Program, find_program
from tests.servers import Server, find_free_port

RULES = DEPLOY / "prometheus.rules.yml"


class Prometheus:
    """Scrapes a server each second. Alerts need a second where the shipped rules say minutes."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.port = find_free_port()
        rules = yaml.safe_load(RULES.read_text())
        for group in rules["groups"]:
            for rule in group["rules"]:
                if "for" in rule:
                    rule["for"] = "1s"
        (folder / "rules.yml").write_text(yaml.safe_dump(rules))
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {
                    "job_name": "realtime",
                    "static_configs": [{"targets": [f"127.0.0.1:{server.port}"]}],
                }
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._program = Program(
            [
                find_program("prometheus"),
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            log=folder / "prometheus.out",
        )

    def wait_for_scrape(self) -> None:
        """Wait until it has heard from the server."""
        self._wait(lambda: bool(self._ask("query", query="realtime_start_time_seconds")["result"]))

    def wait_for_alert(self, name: str) -> None:
        """Wait until an alert fires; fails where it does not in time."""
        self._wait(lambda: name in self.read_alerts())

    def read_alerts(self) -> set[str]:
        """The alerts that fire."""
        return {
            alert["labels"]["alertname"]
            for alert in self._ask("alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def stop(self) -> None:
        """End it."""
        self._program.stop()

    def _ask(self, call: str, **parameters: str) -> dict[str, list[dict[str, dict[str, str]]]]:
        answer = httpx.get(f"http://127.0.0.1:{self.port}/api/v1/{call}", params=parameters)
        data: dict[str, list[dict[str, dict[str, str]]]] = answer.raise_for_status().json()["data"]
        return data

    def _wait(self, is_so: Callable[[], bool], timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                if is_so():
                    return
            except httpx.HTTPError:
                assert self._program.process.poll() is None, self._program.log.read_text()
            assert time.monotonic() < deadline, self._program.log.read_text()
            time.sleep(0.2)


def run_rule_tests(folder: Path, tests: list[dict[str, object]]) -> None:
    """Hold the shipped rules against series of numbers, as `promtool test rules` does."""
    file = folder / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}))
    done = subprocess.run(
        [find_program("promtool"), "test", "rules", str(file)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
