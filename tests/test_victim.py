"""The client beside attacks measures what it says."""

import time
from collections.abc import Callable

from tests.servers import Project, start_server
from tests.victim import Victim


def test_a_victim_counts_its_round_trips(make_project: Callable[..., Project]) -> None:
    project = make_project(REALTIME_ECHO_POLICY="authenticated")
    server = start_server(project, "serve")
    try:
        with Victim(server, project.issue_token("vera")) as victim:
            time.sleep(0.5)
        assert 3 <= len(victim.trips) <= 11
        assert 0 < victim.quantile(0.5) <= victim.quantile(0.99) == max(victim.trips)
    finally:
        server.stop()
