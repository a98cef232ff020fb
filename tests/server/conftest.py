"""Servers for tests of the engine, which need no credentials and have no limits on clients."""

from collections.abc import Callable, Iterator

import pytest

from tests.servers import Project, Server, start_server


@pytest.fixture(scope="session")
def engine_project(make_project: Callable[..., Project]) -> Project:
    """Topics for anyone, no limits on messages and handshakes, a log that is written at once."""
    return make_project(
        DJANGO_SETTINGS_MODULE="tests.server.engine_settings",
        REALTIME_ECHO_POLICY="anyone",
        REALTIME_MESSAGES_PER_SECOND="0",
        REALTIME_BYTES_PER_SECOND="0",
        REALTIME_HANDSHAKES_PER_SECOND="0",
        PYTHONUNBUFFERED="1",
    )


@pytest.fixture(scope="session")
def engine(engine_project: Project) -> Iterator[Server]:
    """`manage.py serve` on that project; at the end its log tells of nothing that went wrong."""
    server = start_server(
        engine_project.with_environment(REALTIME_MAX_FRAME_BYTES=str(1024 * 1024)), "serve"
    )
    yield server
    assert server.stop() == 0
    log = server.read_log()
    assert "Traceback" not in log, log
    assert " ERROR " not in log, log


@pytest.fixture(scope="session")
def impatient(engine_project: Project) -> Iterator[Server]:
    """The same, but for signed-in users only at its echo, and with short pings.

    One message is as long as a publication may be.
    """
    project = engine_project.with_environment(REALTIME_ECHO_POLICY="authenticated")
    server = start_server(project, "serve", "--ping-interval", "1", "--ping-timeout", "3")
    yield server
    assert server.stop() == 0
