"""A server of each test's own, which must end in order with nothing bad in its log."""

import random
from collections.abc import Callable, Iterator

import pytest

from tests.servers import Project, Server, start_server
from tests.soak.pace import SEED


@pytest.fixture
def open_project(make_project: Callable[..., Project]) -> Project:
    """Topics and an echo for anyone, no limits on messages and handshakes."""
    return make_project(
        DJANGO_SETTINGS_MODULE="tests.server.engine_settings",
        REALTIME_ECHO_POLICY="anyone",
        REALTIME_MESSAGES_PER_SECOND="0",
        REALTIME_BYTES_PER_SECOND="0",
        REALTIME_HANDSHAKES_PER_SECOND="0",
        PYTHONUNBUFFERED="1",
    )


@pytest.fixture
def fresh(open_project: Project) -> Iterator[Server]:
    """`manage.py serve` on that project, started for one test."""
    server = start_server(open_project, "serve")
    yield server
    end_in_order(server)


def end_in_order(server: Server) -> None:
    """Stop a server; fail where it does not end in order or its log tells of a fault."""
    code, log = server.stop(), server.read_log()
    for sign in ("Traceback", " ERROR "):
        place = log.find(sign)
        assert place < 0, log[max(0, place - 500) : place + 4000]
    assert code == 0


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> Callable[[object], random.Random]:
    """Chance that can be repeated: one source for each key, with the seed of this run."""
    name = request.node.name
    print(f"\n{name}: SOAK_SEED={SEED}")
    return lambda key: random.Random(f"{SEED} {name} {key}")
