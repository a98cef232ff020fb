"""Static files that do not exist, in development: the shared servers run as there."""

import httpx
import pytest

from tests.servers import Server


@pytest.mark.parametrize("path", ["nowhere.js", "%2e%2e/%2e%2e/etc/passwd", 300 * "a", "a%0ab"])
def test_a_missing_file_is_not_found_and_no_fault(server: Server, path: str) -> None:
    before = len(server.read_log())
    answer = httpx.get(f"{server.http}/static/{path}")
    assert answer.status_code == 404
    assert "Traceback" not in server.read_log()[before:]


def test_a_file_is_served(server: Server) -> None:
    assert "export" in httpx.get(f"{server.http}/static/realtime/realtime.js").text
