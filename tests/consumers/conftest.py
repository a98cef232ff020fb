"""What the end-to-end tests of the consumers share: people, a special server, joined sessions."""

import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import jwt
import pytest

from tests.clients import Client, open_client
from tests.servers import Project, Server, start_server

PASSWORD = "correct horse battery staple"
AUTHENTICATION_TIMEOUT = 3.0  # of the special server, in seconds
EXPIRY_GRACE = 3.0
STAFF = ("vera", "ines")
MAKE_PEOPLE = f"""
import json
from accounts.models import User
from accounts.tokens import issue_access_token
people = {{}}
for name in ("anna", "boris", "igor", *{STAFF!r}):
    user = User(username=name, is_staff=name in {STAFF!r})
    if name == "anna":
        user.set_password({PASSWORD!r})
    user.save()
    people[name] = issue_access_token(user=user)
print(json.dumps(people))
"""


class Session(Client):
    """A client whose session has begun; `subscribed` is None where it only publishes."""

    hello: dict[str, Any]
    subscribed: dict[str, Any] | None = None


Join = Callable[..., AbstractAsyncContextManager[Session]]
Remake = Callable[..., str]


@pytest.fixture
def name() -> str:
    """A topic's name that no other test uses."""
    return uuid.uuid4().hex


@pytest.fixture(scope="session")
def special_project(make_project: Callable[..., Project]) -> Project:
    """Namespaces of every policy, short times, and a log that is written at once."""
    return make_project(
        DJANGO_SETTINGS_MODULE="tests.project_settings",
        DJANGO_ALLOWED_ORIGINS="https://app.example.org,https://*.example.net",
        REALTIME_AUTHENTICATION_TIMEOUT=str(AUTHENTICATION_TIMEOUT),
        REALTIME_EXPIRY_GRACE=str(EXPIRY_GRACE),
        # What tests write into the database is found when they ask, not by a look between.
        REALTIME_RECHECK_SECONDS="3600",
        REALTIME_MAX_TEXT_BYTES="262144",
        PYTHONUNBUFFERED="1",
    )


@pytest.fixture(scope="session")
def special(special_project: Project) -> Iterator[Server]:
    """Stock daphne on that project; at the end its log holds no token and no lost error."""
    server = start_server(special_project)
    yield server
    server.stop()
    log = server.read_log()
    assert "eyJ" not in log  # what every JSON Web Token begins with
    assert "never retrieved" not in log  # asyncio's word for a task that failed unseen


@pytest.fixture(scope="session")
def people(special_project: Project) -> dict[str, str]:
    """Access tokens by username; anna has a password, vera and ines are staff."""
    output = special_project.manage("shell", "--verbosity", "0", "-c", MAKE_PEOPLE)
    tokens: dict[str, str] = json.loads(output.splitlines()[-1])
    return tokens


@pytest.fixture(scope="session")
def remake() -> Remake:
    """Sign a token anew with other claims: `remake(project, token, exp=…)`."""

    def remake(project: Project, token: str, **claims: Any) -> str:
        payload = jwt.decode(token, options={"verify_signature": False})
        key = (project.folder / "secrets" / "JWT_SIGNING_KEY").read_text().strip()
        return jwt.encode({**payload, **claims}, key, "HS256")

    return remake


@pytest.fixture
def join() -> Join:
    """Connect to a topic and read what a session begins with: `join(server, path, token)`."""

    @asynccontextmanager
    async def join(server: Server, path: str, token: str | None) -> AsyncIterator[Session]:
        async with open_client(f"{server.ws}/ws/{path}", token) as client:
            session = Session(client.connection)
            session.hello = await session.receive()
            assert session.hello["type"] == "hello", session.hello
            if "subscribe=0" not in path:
                session.subscribed = await session.receive()
                assert session.subscribed["type"] == "subscribed"
            yield session

    return join
