"""A server that the tests of the Python client share, and what each of them needs."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from realtime_client import Backoff, Config
from tests.servers import Project, Server, start_server

# Soon back, so that a test does not wait; still with full jitter.
QUICK = Backoff(base=0.1, factor=1.5, cap=0.5)


@pytest.fixture
def config() -> Callable[..., Config]:
    """A configuration that comes back soon."""

    def build(**options: Any) -> Config:
        return Config(**{"backoff": QUICK, **options})

    return build


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
    server.stop()


@pytest.fixture(scope="session")
def client_token(client_project: Project) -> str:
    """A token of `anna` that lasts for the whole run."""
    return client_project.issue_token("anna", "--lifetime", "3600")


@pytest.fixture
def url(client_server: Server) -> Callable[[str], str]:
    """The address of a namespace's topic of this test's own: `url("broadcast")`."""
    name = uuid.uuid4().hex
    return lambda namespace: f"{client_server.ws}/ws/{namespace}/{name}/"
