"""Fixtures that start real servers; one of a kind serves all tests that need no special one."""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from realtime.log_limits import LogLimits
from tests.certificates import write_certificate
from tests.servers import Project, RedisServer, Server, start_secure_server, start_server

# A busy machine is slow at times; that is no failure.
hypothesis.settings.register_profile(
    "project", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def unlimited_log() -> None:
    """Tests in this process log more than a server may. (Those in others are limited.)"""
    for handler in logging.getLogger().handlers:
        for limits in [one for one in handler.filters if isinstance(one, LogLimits)]:
            handler.removeFilter(limits)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes what a test counted; it stands at the end of the run."""
    return lambda text: request.node.user_properties.append(("counted", text))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests counted."""
    lines = [
        f"{test.nodeid}: {text}"
        for outcome in ("passed", "failed")
        for test in terminalreporter.getreports(outcome)
        if test.when == "call"
        for name, text in test.user_properties
        if name == "counted"
    ]
    if lines:
        terminalreporter.section("counted")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with all migrations, made once."""
    project = Project(tmp_path_factory.mktemp("database"))
    project.manage("migrate", "--verbosity", "0")
    return project.folder / "db.sqlite3"


@pytest.fixture(scope="session")
def make_project(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path
) -> Callable[..., Project]:
    """Makes a project with an empty database; keywords are environment variables."""

    def make(**environment: str) -> Project:
        folder = tmp_path_factory.mktemp("project")
        shutil.copy(migrated_database, folder / "db.sqlite3")
        return Project(folder, environment)

    return make


@pytest.fixture(scope="session")
def project(make_project: Callable[..., Project]) -> Project:
    """The project of the shared server."""
    return make_project()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    write_certificate(folder)
    return folder


@pytest.fixture(scope="session")
def shared_servers() -> Iterator[dict[str, Server]]:
    """Those that `server` has started: pytest would end one each time that another is wanted."""
    servers: dict[str, Server] = {}
    yield servers
    for server in servers.values():
        server.stop()


@pytest.fixture(scope="session", params=["daphne", "serve", "serve over TLS"])
def server(
    project: Project,
    request: pytest.FixtureRequest,
    certificate: Path,
    shared_servers: dict[str, Server],
) -> Iterator[Server]:
    """A shared server with the embedded default: use topics of your own.

    What runs against it runs on stock daphne, on `manage.py serve`, and on its `ssl:` endpoint.
    """
    kind: str = request.param
    is_secure = kind == "serve over TLS"
    with pytest.MonkeyPatch.context() as patch:
        if is_secure:
            patch.setenv("SSL_CERT_FILE", str(certificate / "certificate.pem"))
        if kind not in shared_servers:
            shared_servers[kind] = (
                start_secure_server(project, certificate)
                if is_secure
                else start_server(project, kind)
            )
        yield shared_servers[kind]


@pytest.fixture(scope="session")
def token(project: Project) -> str:
    """An access token of the user `anna` for the shared server."""
    return project.issue_token()


@pytest.fixture
def launch() -> Iterator[Callable[..., Server]]:
    """Starts servers that end with the test: `launch(project, "serve", "--ping-interval", "1")`."""
    with ExitStack() as stack:

        def start(project: Project, kind: str = "daphne", *options: str) -> Server:
            server = start_server(project, kind, *options)
            stack.callback(server.stop, kill=True)
            return server

        yield start


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test's own, started."""
    redis = RedisServer(tmp_path)
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture
def no_joining(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand publications on one by one: nothing waits for a millisecond."""
    monkeypatch.setattr("realtime.followers.JOIN_SECONDS", 0.0)
