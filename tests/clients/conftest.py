"""A server that the tests of both clients share, and what it takes to sign in and to restart."""

import time
from collections.abc import Callable, Iterator

import jwt
import pytest

from tests.servers import Project, Server, start_server


def sign_again(project: Project, token: str, seconds: float) -> str:
    """A token of the same user and sign-in that ends so many seconds from now."""
    key = (project.folder / "secrets" / "JWT_SIGNING_KEY").read_text().strip()
    claims = jwt.decode(token, options={"verify_signature": False})
    now = int(time.time())
    return jwt.encode({**claims, "iat": now, "exp": now + int(seconds)}, key, "HS256")


@pytest.fixture(scope="session")
def client_project(make_project: Callable[..., Project]) -> Project:
    """Namespaces of every kind, no limit on messages, and a short grace for old tokens."""
    return make_project(
        DJANGO_SETTINGS_MODULE="tests.project_settings",
        REALTIME_EXPIRY_GRACE="1",
        REALTIME_MESSAGES_PER_SECOND="0",
        REALTIME_BYTES_PER_SECOND="0",
        REALTIME_HANDSHAKES_PER_SECOND="0",
        REALTIME_AUTHENTICATION_TIMEOUT="0.5",
    )


@pytest.fixture(scope="session")
def client_server(client_project: Project) -> Iterator[Server]:
    """`manage.py serve` on it, for tests that break nothing."""
    server = start_server(client_project, "serve")
    yield server
    server.stop(kill=True)


@pytest.fixture(scope="session")
def client_token(client_project: Project) -> str:
    """A token of `anna` that lasts for the whole run."""
    return client_project.issue_token()


@pytest.fixture
def restart() -> Iterator[Callable[[Server], Server]]:
    """Starts an ended server again on its port, for the rest of the test."""
    servers: list[Server] = []

    def start(ended: Server) -> Server:
        servers.append(start_server(ended.project, ended.kind, port=ended.port))
        return servers[-1]

    yield start
    for server in servers:
        server.stop(kill=True)
