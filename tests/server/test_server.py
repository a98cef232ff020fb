"""What `serve` keeps of requests and handshakes that are over."""

import http.client
import re
import time
from collections.abc import Callable

from tests.server.processes import wait_until
from tests.server.raw import RawSocket, build_request
from tests.servers import Project, Server


def test_a_flood_of_requests_and_handshakes_does_not_pile_up(
    launch: Callable[..., Server], make_project: Callable[..., Project]
) -> None:
    project = make_project(PYTHONUNBUFFERED="1")
    server = launch(project, "serve", "--background", "tests.server.census.count_connections")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    done, end = 0, time.monotonic() + 2
    while time.monotonic() < end:
        connection.request("GET", "/livez")
        assert connection.getresponse().read()
        with RawSocket(server.port) as client:  # refused before it is accepted
            client.send(build_request("/ws/echo/", "Origin: https://evil.example"))
            assert client.read_head()[0] == 403
        done += 2
    connection.close()
    counts = [int(count) for count in re.findall(r"census kept=(\d+)", server.read_log())]
    assert done > 50
    assert len(counts) >= 2
    assert max(counts) <= 10
    wait_until(lambda: server.read_log().rstrip().endswith(("kept=0", "kept=1")))
