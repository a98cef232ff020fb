"""Two instances with Redis, a third one that sweeps often, and a job beside them."""

import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.revocation.watchers import PATIENCE, Watcher, watch
from tests.servers import ROOT, Project, RedisServer, Server, start_server

# How often the third instance looks at everybody, in seconds; the others do so never.
RECHECK_SECONDS, NEVER = 1.0, 86_400.0
# How long a session outlives its token.
GRACE = 0.5


class Job:
    """The process beside the instances: `tests.revocation.job`."""

    def __init__(self, project: Project) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.revocation.job"],
            cwd=ROOT,
            env=project.full_environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str) -> tuple[Any, float]:
        """Run Python there; returns what it left in `result`, and when it was done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()
        fields = json.loads(self._process.stdout.readline())
        assert fields["error"] is None, fields["error"]
        return fields["result"], fields["at"]

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass
class User:
    """A user of one test; `access` and `refresh` are tokens of one sign-in."""

    pk: int
    name: str
    access: str
    refresh: str


@dataclass
class Stage:
    """What all tests of this folder share; each has users and topics of its own."""

    servers: list[Server]
    sweeper: Server
    redis: RedisServer
    project: Project
    job: Job
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def all_servers(self) -> list[Server]:
        return [*self.servers, self.sweeper]

    async def run(self, code: str) -> tuple[Any, float]:
        """Run Python in the job; returns its `result`, and when it was done."""
        return await asyncio.to_thread(self.job.run, code)

    async def make_user(self, *permissions: str, suffix: str = "", **fields: Any) -> User:
        """A new user with these permissions; `group` is that of the user."""
        name = f"user{next(self.numbers)}{suffix}"
        arguments = ", ".join([repr(name), *map(repr, permissions)])
        made, _ = await self.run(f"result = make_user({arguments}, **{fields!r})")
        return User(**made)

    def make_name(self) -> str:
        """A name that no other test has."""
        return f"n{next(self.numbers)}"

    async def wait_told(self) -> None:
        """Wait until every instance hears the job again, after Redis was away."""
        user = await self.make_user()
        paths = [f"broadcast/{self.make_name()}/"]
        tell = (
            f"try:\n    realtime.disconnect(user={user.pk})\n"
            "except realtime.errors.Unavailable:\n    pass"
        )
        async with (
            watch(self.all_servers, paths, user.access) as probes,
            asyncio.timeout(PATIENCE),
        ):
            while any(probe.code is None for probe in probes):
                await self.run(tell)
                await asyncio.sleep(0.1)

    @asynccontextmanager
    async def publishing(self, *topics: str, rate: float = 50) -> AsyncIterator[User]:
        """A superuser, who publishes on both instances in turn during the block."""
        root = await self.make_user(is_superuser=True, is_staff=True)
        paths = [f"{topic.replace(':', '/')}/?subscribe=0" for topic in topics]
        async with watch(self.servers, paths, root.access) as sessions:
            task = asyncio.create_task(_publish_forever(sessions, rate))
            yield root
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _publish_forever(sessions: list[Watcher], rate: float) -> None:
    for number in itertools.count():
        for session in sessions:
            data: Any = {"value": number} if session.path.startswith("figures") else number
            await session.send({"type": "publish", "data": data})
        await asyncio.sleep(1 / rate)


# Not for the package: files of other ones come between, and each time all would begin anew.
@pytest.fixture(scope="session")
def stage(
    make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    project = make_project(
        REDIS_URL=redis.url,
        DJANGO_SETTINGS_MODULE="tests.revocation.settings",
        REALTIME_EXPIRY_GRACE=str(GRACE),
        REALTIME_RECHECK_SECONDS=str(NEVER),
    )
    often = project.with_environment(REALTIME_RECHECK_SECONDS=str(RECHECK_SECONDS))
    with ThreadPoolExecutor() as pool:
        job = pool.submit(Job, project)
        one, two, sweeper = pool.map(start_server, [project, project, often], ["serve"] * 3)
    yield Stage([one, two], sweeper, redis, project, job.result())
    job.result().stop()
    for server in (one, two, sweeper):
        server.stop(kill=True)
    redis.kill()
