"""Many sessions that do nothing, and what the live list says of them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from tests.clients import Client, open_client
from tests.servers import Server

# Handshakes under way at the same time.
TOGETHER = 50


@asynccontextmanager
async def crowd(
    servers: Sequence[Server], topic: str, token: str, count: int
) -> AsyncIterator[dict[str, Client]]:
    """So many sessions on a topic, spread over the instances; by their ids."""
    path = topic.replace(":", "/")
    places = asyncio.Semaphore(TOGETHER)
    async with AsyncExitStack() as stack:

        async def begin(number: int) -> tuple[str, Client]:
            async with places:
                url = f"{servers[number % len(servers)].ws}/ws/{path}/"
                client = await stack.enter_async_context(
                    open_client(url, token, ping_interval=None, close_timeout=0.1)
                )
                hello = await client.receive_type("hello")
                await client.receive_type("subscribed")
                return hello["session"], client

        yield dict(await asyncio.gather(*map(begin, range(count))))


async def list_live(server: Server, topic: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The live sessions of a topic as an instance lists them, each with its instance."""
    address = f"{server.http}/api/sessions/"
    options = {"topic": topic, "limit": 1000}
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.get(address, params=options, headers=headers)
    answer.raise_for_status()
    return {row["id"]: row["instance"] for row in answer.json()["results"]}
