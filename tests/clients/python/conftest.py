"""What the tests of the Python client need of the server that they share."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from realtime_client import Backoff, Config
from tests.servers import Server

# Soon back, so that a test does not wait; still with full jitter.
QUICK = Backoff(base=0.1, factor=1.5, cap=0.5)


@pytest.fixture
def config() -> Callable[..., Config]:
    """A configuration that comes back soon."""

    def build(**options: Any) -> Config:
        return Config(**{"backoff": QUICK, **options})

    return build


@pytest.fixture
def url(client_server: Server) -> Callable[[str], str]:
    """The address of a namespace's topic of this test's own: `url("broadcast")`."""
    name = uuid.uuid4().hex
    return lambda namespace: f"{client_server.ws}/ws/{namespace}/{name}/"
