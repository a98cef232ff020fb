"""Recovery and history of a broadcast topic, on a real daphne: sections 3 and 8."""

import asyncio
import json
from typing import Any

import pytest

from tests.clients import Client, open_client
from tests.consumers.conftest import Join
from tests.servers import Server


async def fill(join: Join, server: Server, path: str, token: str, count: int) -> str:
    """Publish 1 to `count` on a topic; its epoch."""
    async with join(server, f"{path}?subscribe=0", token) as client:
        for value in range(1, count + 1):
            await client.send({"type": "publish", "data": value, "ref": value})
        acks = [await client.receive() for _ in range(count)]
        assert acks[-1]["offset"] == count
        epoch: str = acks[-1]["epoch"]
        return epoch


async def read_offsets(client: Client, count: int) -> list[int]:
    """The offsets of the next publications, and that nothing else comes after them."""
    messages = [await client.receive() for _ in range(count)]
    assert {message["type"] for message in messages} <= {"publication"}
    assert all(message["data"] == message["offset"] for message in messages)
    await client.receive_nothing(0.05)
    return [message["offset"] for message in messages]


def describe(subscribed: dict[str, Any] | None) -> tuple[Any, ...]:
    assert subscribed is not None
    return subscribed["offset"], subscribed["next"], subscribed["recovered"]


# Recovery


@pytest.mark.parametrize("offset", [0, 1, 9, 10])
async def test_a_known_position_is_recovered_with_all_that_came_after_it(
    server: Server, token: str, join: Join, name: str, offset: int
) -> None:
    path = f"broadcast/{name}/"
    epoch = await fill(join, server, path, token, 10)
    query = f"?epoch={epoch}&offset={offset}&history=3"  # the history is ignored then
    async with join(server, path + query, token) as client:
        assert describe(client.subscribed) == (10, offset + 1, True)
        assert await read_offsets(client, 10 - offset) == list(range(offset + 1, 11))


async def test_a_trimmed_position_is_a_gap_and_all_that_is_kept_follows(
    special: Server, people: dict[str, str], join: Join, name: str
) -> None:
    path = f"short/{name}/"  # keeps five
    epoch = await fill(join, special, path, people["anna"], 12)
    for offset in (0, 6):
        query = f"?epoch={epoch}&offset={offset}"
        async with join(special, path + query, people["anna"]) as client:
            assert describe(client.subscribed) == (12, 8, False)
            assert await client.receive() == {
                "type": "gap",
                "topic": f"short:{name}",
                "epoch": epoch,
                "after": offset,
                "next": 8,
                "reason": "history_trimmed",
            }
            assert await read_offsets(client, 5) == [8, 9, 10, 11, 12]
    async with join(special, f"{path}?epoch={epoch}&offset=7", people["anna"]) as client:
        assert describe(client.subscribed) == (12, 8, True)
        assert await read_offsets(client, 5) == [8, 9, 10, 11, 12]


@pytest.mark.parametrize("offset", [0, 2, 99])
async def test_another_epoch_is_a_gap_and_all_that_is_kept_follows(
    server: Server, token: str, join: Join, name: str, offset: int
) -> None:
    path = f"broadcast/{name}/"
    epoch = await fill(join, server, path, token, 3)
    async with join(server, f"{path}?epoch=other&offset={offset}", token) as client:
        assert describe(client.subscribed) == (3, 1, False)
        assert client.subscribed is not None
        assert client.subscribed["epoch"] == epoch
        assert await client.receive() == {
            "type": "gap",
            "topic": f"broadcast:{name}",
            "epoch": epoch,
            "after": offset,
            "next": 1,
            "reason": "history_lost",
        }
        assert await read_offsets(client, 3) == [1, 2, 3]


async def test_a_position_ahead_of_the_topic_is_a_gap_and_the_live_stream_follows(
    server: Server, token: str, join: Join, name: str
) -> None:
    path = f"broadcast/{name}/"
    epoch = await fill(join, server, path, token, 3)
    async with join(server, f"{path}?epoch={epoch}&offset=99", token) as client:
        assert describe(client.subscribed) == (3, 4, False)
        gap = await client.receive()
        assert (gap["type"], gap["epoch"], gap["after"]) == ("gap", epoch, 99)
        assert (gap["next"], gap["reason"]) == (4, "history_lost")
        await client.send({"type": "publish", "data": 4})
        assert await read_offsets(client, 1) == [4]
    async with join(server, f"{path}?epoch={epoch}&offset=4", token) as client:
        assert describe(client.subscribed) == (4, 5, True)  # the claim changed nothing


async def test_a_topic_has_an_epoch_before_its_first_publication(
    server: Server, token: str, join: Join, name: str
) -> None:
    path = f"broadcast/{name}/"
    async with join(server, path, token) as client:
        assert client.subscribed is not None
        epoch = client.subscribed["epoch"]
    assert await fill(join, server, path, token, 2) == epoch
    async with join(server, f"{path}?epoch={epoch}&offset=0", token) as client:
        assert describe(client.subscribed) == (2, 1, True)
        assert await read_offsets(client, 2) == [1, 2]


async def test_reconnecting_amid_a_stream_loses_nothing_and_repeats_nothing(
    server: Server, token: str, join: Join, name: str
) -> None:
    count, path = 1000, f"broadcast/{name}/"
    offsets: list[int] = []

    async def publish() -> None:
        async with join(server, f"{path}?subscribe=0", token) as client:
            for value in range(1, count + 1):
                await client.send({"type": "publish", "data": value})
                if value % 20 == 0:
                    await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        async with join(server, path, token) as client:
            assert client.subscribed is not None
            epoch = client.subscribed["epoch"]
            group.create_task(publish())
            offsets += [(await client.receive())["offset"] for _ in range(50)]
            client.connection.transport.abort()
        while len(offsets) < count:
            query = f"?epoch={epoch}&offset={offsets[-1]}"
            async with join(server, path + query, token) as client:
                assert client.subscribed is not None
                assert client.subscribed["recovered"] is True
                for _ in range(min(150, count - len(offsets))):
                    message = await client.receive()
                    assert message["type"] == "publication"
                    offsets.append(message["offset"])
                client.connection.transport.abort()
    assert offsets == list(range(1, count + 1))


# The last N


@pytest.mark.parametrize(("asked", "first"), [(0, 11), (1, 10), (4, 7), (10, 1), (5000, 1)])
async def test_a_fresh_subscriber_may_ask_for_the_last_publications(
    server: Server, token: str, join: Join, name: str, asked: int, first: int
) -> None:
    path = f"broadcast/{name}/"
    await fill(join, server, path, token, 10)
    async with join(server, f"{path}?history={asked}", token) as client:
        assert describe(client.subscribed) == (10, first, None)
        assert await read_offsets(client, 11 - first) == list(range(first, 11))
        await client.send({"value": "live"})
        assert (await client.receive())["offset"] == 11


async def test_of_a_trimmed_topic_the_last_publications_are_those_that_are_kept(
    special: Server, people: dict[str, str], join: Join, name: str
) -> None:
    path = f"short/{name}/"
    await fill(join, special, path, people["anna"], 12)
    async with join(special, f"{path}?history=9", people["anna"]) as client:
        assert describe(client.subscribed) == (12, 8, None)
        assert await read_offsets(client, 5) == [8, 9, 10, 11, 12]


# The history message


async def ask(client: Client, **fields: Any) -> dict[str, Any]:
    await client.send({"type": "history", "ref": "h", **fields})
    return await client.receive_type("history")


async def test_history_has_every_field_and_publications_as_they_were_sent(
    server: Server, token: str, join: Join, name: str
) -> None:
    async with join(server, f"broadcast/{name}/", token) as client:
        await client.send({"value": 1})
        publication = await client.receive()
        assert client.subscribed is not None
        assert await ask(client, after=0) == {
            "type": "history",
            "ref": "h",
            "topic": f"broadcast:{name}",
            "epoch": client.subscribed["epoch"],
            "top": 1,
            "publications": [publication],
            "complete": True,
        }


async def test_history_is_read_page_by_page_until_the_top(
    server: Server, token: str, join: Join, name: str
) -> None:
    path = f"broadcast/{name}/"
    epoch = await fill(join, server, path, token, 10)
    async with join(server, f"{path}?subscribe=0", token) as client:
        pages, after = [], 0
        while True:
            page = await ask(client, after=after, epoch=epoch, limit=4)
            assert page["complete"] is True
            assert page["top"] == 10
            pages.append([each["offset"] for each in page["publications"]])
            after = pages[-1][-1]
            if after == page["top"]:
                break
        assert pages == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
        assert (await ask(client, after=10, epoch=epoch))["publications"] == []


async def test_history_tells_where_some_are_gone(
    special: Server, people: dict[str, str], join: Join, name: str
) -> None:
    path = f"short/{name}/"
    epoch = await fill(join, special, path, people["anna"], 12)
    async with join(special, f"{path}?subscribe=0", people["anna"]) as client:
        for query, complete, offsets in [
            ({"after": 0}, False, [8, 9, 10, 11, 12]),
            ({"after": 6, "epoch": epoch, "limit": 2}, False, [8, 9]),
            ({"after": 7, "epoch": epoch}, True, [8, 9, 10, 11, 12]),
            ({"after": 11, "epoch": "other"}, False, [8, 9, 10, 11, 12]),
            ({"after": 99, "epoch": "other", "limit": 1}, False, [8]),
        ]:
            page = await ask(client, **query)  # type: ignore[arg-type]
            assert page["complete"] is complete, query
            assert [each["offset"] for each in page["publications"]] == offsets, query
            assert (page["epoch"], page["top"]) == (epoch, 12)


async def test_history_is_cut_at_about_a_mebibyte_and_the_next_page_goes_on(
    server: Server, token: str, name: str
) -> None:
    url = f"{server.ws}/ws/broadcast/{name}/?subscribe=0"
    filling, count = "x" * 60_000, 40
    async with open_client(url, token) as client:
        for ref in range(count):
            await client.send({"type": "publish", "data": filling, "ref": ref})
        for _ in range(count):
            await client.receive_type("ack")
        await client.send({"type": "history", "ref": "h", "after": 0, "limit": 1000})
        text = await client.connection.recv()
        assert 900_000 < len(text) <= 1_048_576  # one message, which stock daphne has to send
        first = json.loads(text)
        offsets = [each["offset"] for each in first["publications"]]
        rest = await ask(client, after=offsets[-1], limit=1000)
        offsets += [each["offset"] for each in rest["publications"]]
        assert offsets == list(range(1, len(offsets) + 1))
        assert first["complete"] is rest["complete"] is True
