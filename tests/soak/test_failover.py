"""A primary of Redis hangs, Sentinel names another, and how late publications are meanwhile.

The old one keeps its connections open and answers none of them: what had been subscribed there is
heard no more, without a word. Until the channel layer is opened again, publications come by the
check of positions, each second.
"""

import asyncio
import math
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients import Client, open_client
from tests.servers import Project, Server
from tests.soak.pace import find_quantile
from tests.test_redis_address import SILENCE_DEADLINE, Cluster

RATE = 50  # publications a second
CALM_SECONDS = 3.0
# In seconds: a delivery by the channel layer takes some milliseconds, one by the check 500.
PROMPT = 0.1


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


class Timeline:
    """When each publication was sent, and how long it took."""

    def __init__(self) -> None:
        self.sent: list[float] = []
        self.late: dict[int, float] = {}

    async def publish_forever(self, client: Client) -> None:
        while True:
            number = len(self.sent)
            self.sent.append(time.monotonic())
            await client.send({"type": "publish", "data": number, "id": str(number)})
            await asyncio.sleep(1 / RATE)

    async def hear_forever(self, client: Client) -> None:
        while True:
            message = await client.receive(120)
            if message["type"] == "publication":
                number = message["data"]
                self.late.setdefault(number, time.monotonic() - self.sent[number])

    def find_median(self, start: float, end: float) -> float:
        """Of the publications that were sent in between and accepted; in seconds."""
        within = [n for n, sent in enumerate(self.sent) if start <= sent < end and n in self.late]
        return find_quantile([self.late[n] for n in within], 0.5) if within else math.inf


async def test_deliveries_are_prompt_again_soon_after_the_promotion(
    cluster: Cluster,
    make_project: Callable[..., Project],
    launch: Callable[..., Server],
    report: Callable[[str], None],
) -> None:
    await cluster.wait_for_replica()
    project = make_project(REDIS_URL=cluster.url)
    token = project.issue_token()
    urls = [f"{launch(project, 'serve').ws}/ws/broadcast/a/" for _ in range(2)]
    timeline = Timeline()
    async with open_client(urls[0], token) as here, open_client(urls[1], token) as there:
        for client in (here, there):
            await client.receive_type("subscribed")
        tasks = [
            asyncio.create_task(timeline.publish_forever(here)),
            asyncio.create_task(timeline.hear_forever(there)),
            asyncio.create_task(drain(here)),
        ]
        await asyncio.sleep(CALM_SECONDS)
        hung = time.monotonic()
        await cluster.hang_master()
        await cluster.wait_for_promotion()
        promoted = time.monotonic()
        await asyncio.sleep(2 * SILENCE_DEADLINE + CALM_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    cluster.master.signal(signal.SIGCONT)
    medians = [
        timeline.find_median(start, start + 1)
        for start in (hung - CALM_SECONDS, hung - 1, promoted + 2 * SILENCE_DEADLINE)
    ]
    each = " ".join(
        f"{timeline.find_median(promoted + n, promoted + n + 1) * 1000:.0f}" for n in range(12)
    )
    report(
        f"promoted {promoted - hung:.1f} s after the hang; median delay of each second after the "
        f"promotion: {each} ms (before: {medians[0] * 1000:.0f} ms)"
    )
    assert medians[-1] < PROMPT


async def drain(client: Client) -> None:
    """Take what comes."""
    while True:
        await client.receive(120)
