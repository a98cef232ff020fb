"""A rolling restart of two instances behind the shipped nginx, as docs/deployment.md has it."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from realtime_client import Config, Publication, connect
from tests.deployment.nginx import NAME, Nginx
from tests.servers import Project, RedisServer, Server, start_server

PUBLISHERS = 3
SUBSCRIBERS = 6
# Seconds between two publications of one publisher.
INTERVAL = 0.05
# The promise is 2 s for a publication on its way; twice that on a busy machine, and the wait that
# a drain asks its sessions for (2 s at most for so few) comes on top.
LONGEST_WAIT = 2 * 2.0 + 2.0
LAST = "the last one"


@dataclass
class Site:
    """Two instances and what stands in front of them and behind."""

    project: Project
    instances: list[Server]
    nginx: Nginx
    tls: ssl.SSLContext
    token: str

    async def restart(self, number: int) -> None:
        """`systemctl restart` of one instance, then wait for its `/readyz`."""
        old = self.instances[number]
        assert await asyncio.to_thread(old.stop) == 0
        new = await asyncio.to_thread(start_server, self.project, "serve", port=old.port)
        self.instances[number] = new
        async with httpx.AsyncClient() as client:
            while (await client.get(f"{new.http}/readyz")).status_code != 200:
                await asyncio.sleep(0.1)


@pytest.fixture
def site(
    make_project: Callable[..., Project], redis: RedisServer, certificate: Path, tmp_path: Path
) -> Iterator[Site]:
    project = make_project(
        REDIS_URL=redis.url,
        TRUSTED_PROXIES="1",
        DJANGO_BEHIND_TLS_PROXY="true",
        DJANGO_ALLOWED_HOSTS=NAME,
    )
    token = project.issue_token()
    instances = [start_server(project, "serve") for _ in range(2)]
    folder = tmp_path / "nginx"
    folder.mkdir()
    nginx = Nginx(folder, certificate=certificate, instances=[one.port for one in instances])
    tls = ssl.create_default_context(cafile=str(certificate / "certificate.pem"))
    site = Site(project, instances, nginx, tls, token)
    yield site
    nginx.stop()
    for instance in site.instances:
        instance.stop(kill=True)


@dataclass
class Traffic:
    """Publishers and subscribers of one topic, and what became of their publications."""

    published: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    received: list[list[str]] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, name: str, url: str, token: str, config: Config) -> None:
        """Publish at a steady rate, whatever the connection does."""
        number = 0
        async with (
            connect(url, token=token, subscribe=False, config=config) as stream,
            asyncio.TaskGroup() as under_way,
        ):
            while not self.stopping.is_set():
                number += 1
                text = f"{name} {number}"
                self.published.append(text)
                under_way.create_task(self._confirm(stream.publish({"text": text})))
                await asyncio.sleep(INTERVAL)

    async def _confirm(self, publishing: "asyncio.Future[object]") -> None:
        began = time.monotonic()
        await publishing
        self.waits.append(time.monotonic() - began)

    async def subscribe(self, url: str, token: str, config: Config) -> None:
        """Read until the last one of all has come."""
        got: list[str] = []
        self.received.append(got)
        async with connect(url, token=token, history=1000, config=config) as stream:
            async for message in stream:
                assert isinstance(message, Publication), message  # no gap
                if message.data["text"] == LAST:
                    return
                got.append(message.data["text"])


@asynccontextmanager
async def run_traffic(site: Site) -> AsyncIterator[Traffic]:
    """Traffic through nginx around what is tried."""
    traffic, config = Traffic(), Config(ssl=site.tls, proxy=None)
    url = f"wss://{site.nginx.address}/ws/broadcast/restarts/"
    async with asyncio.TaskGroup() as subscribers:
        for _ in range(SUBSCRIBERS):
            subscribers.create_task(traffic.subscribe(url, site.token, config))
        async with asyncio.TaskGroup() as publishers:
            for number in range(PUBLISHERS):
                publishers.create_task(traffic.publish(f"p{number}", url, site.token, config))
            await asyncio.sleep(1)
            yield traffic
            await asyncio.sleep(1)
            traffic.stopping.set()
        async with connect(url, token=site.token, subscribe=False, config=config) as stream:
            await stream.publish({"text": LAST})


async def test_a_rolling_restart_loses_nothing_and_holds_up_nobody_for_long(
    site: Site, report: Callable[[str], None]
) -> None:
    statuses: list[int] = []

    async def ask() -> None:
        async with httpx.AsyncClient(verify=site.tls, timeout=30) as client:
            while True:
                answer = await client.get(f"https://{site.nginx.address}/livez")
                statuses.append(answer.status_code)
                await asyncio.sleep(0.1)

    async with run_traffic(site) as traffic:
        asking = asyncio.create_task(ask())
        for number in range(2):
            await site.restart(number)
        await asyncio.sleep(1)
        asking.cancel()
    report(
        f"{len(traffic.published)} publications, the longest wait {max(traffic.waits):.2f} s; "
        f"{len(statuses)} requests"
    )
    assert len(traffic.waits) == len(traffic.published)
    for got in traffic.received:
        assert sorted(got) == sorted(traffic.published)  # all of them, and each once
    assert set(statuses) == {200}
    assert max(traffic.waits) < LONGEST_WAIT
