"""One snapshot of a topic's statistics over REST."""

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.test_publications import assert_refused, is_secure, post
from tests.clients import open_client, save_array
from tests.servers import Project, Server, start_server

ALL = "sum,var,median,p90,p95,p99,first,rate,nan_count"


@pytest.fixture(scope="module")
def small_server(project: Project) -> Iterator[Server]:
    """A daphne with the namespaces of `tests.stats_settings`."""
    server = start_server(project.with_environment(DJANGO_SETTINGS_MODULE="tests.stats_settings"))
    yield server
    server.stop()


@pytest.fixture
def name() -> str:
    """The name of a topic of this test's own."""
    return uuid.uuid4().hex


async def get(server: Server, topic: str, token: str | None, **query: Any) -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(timeout=30, verify=is_secure(server)) as http:
        return await http.get(
            f"{server.http}/api/topics/{topic}/stats/", headers=headers, params=query
        )


async def fill(server: Server, topic: str, token: str, values: Sequence[Any]) -> None:
    for value in values:
        data = {"values": value} if isinstance(value, list) else {"value": value}
        assert (await post(server, topic, token, json={"data": data})).status_code == 201


@pytest.mark.parametrize("window", ["1", "4", "100", "0.5s", "1h"])
@pytest.mark.parametrize("namespace", ["stats", "ticks", "narrow"])
async def test_it_is_the_message_that_a_new_subscriber_gets(
    small_server: Server, token: str, name: str, namespace: str, window: str
) -> None:
    topic = f"{namespace}:{name}"  # ticks keeps five publications, narrow 400 bytes
    await fill(small_server, topic, token, [1, 2.5, [3, None, 4], None, 5, [7, 8], 6])
    query = {"window": window, "fields": ALL}
    async with open_client(
        f"{small_server.ws}/ws/{namespace}/{name}/?window={window}&fields={ALL}", token
    ) as client:
        message = await client.receive_type("stats")
    response = await get(small_server, topic, token, **query)
    assert response.status_code == 200
    assert response.json() == message
    assert message["offset"] == 7


async def test_a_history_of_many_pages_is_read_to_its_end(
    small_server: Server, token: str, name: str
) -> None:
    topic = f"stats:{name}"
    values = np.arange(40_000.0)
    for part in np.split(values, 4):  # 160 kB each as they are kept
        await post(small_server, topic, token, type="application/x-npy", content=save_array(part))
    body = (await get(small_server, topic, token, window="1h", fields="median")).json()
    assert (body["offset"], body["count"], body["median"]) == (4, 40_000, 19_999.5)
    body = (await get(small_server, topic, token, window="30000")).json()
    assert (body["count"], body["min"]) == (30_000, 10_000.0)


async def test_where_nothing_is_retained_the_figures_are_null(
    small_server: Server, token: str, name: str
) -> None:
    nothing = {"value": None, "mean": None, "std": None, "min": None, "max": None, "count": 0}
    body = (await get(small_server, f"stats:{name}", token)).json()
    assert body == {
        "type": "stats",
        "topic": f"stats:{name}",
        "offset": 0,
        "window": "100",
        "server_time": None,
        **nothing,
    }
    await fill(small_server, f"brief:{name}", token, [1, 2])  # kept for half a second
    await asyncio.sleep(0.6)
    body = (await get(small_server, f"brief:{name}", token)).json()
    assert (body["offset"], body["server_time"]) == (2, None)
    assert {key: body[key] for key in nothing} == nothing


async def test_what_cannot_be_asked_is_refused(small_server: Server, token: str, name: str) -> None:
    assert_refused(await get(small_server, f"broadcast:{name}", token), 400, "not_supported")
    assert_refused(await get(small_server, f"stats:{name}", None), 401, "authentication_required")
    assert_refused(await get(small_server, f"nowhere:{name}", token), 404, "unknown_topic")
    for query in ({"window": "x"}, {"fields": "colour"}, {"interval": "1"}):
        response = await get(small_server, f"stats:{name}", token, **query)
        detail = assert_refused(response, 400, "invalid_parameter")
        assert next(iter(query)).rstrip("s") in detail


async def test_a_publication_that_was_confirmed_is_in_what_is_read_next(
    small_server: Server, token: str, name: str
) -> None:
    for value in range(1, 15):
        await fill(small_server, f"stats:{name}", token, [value])
        body = (await get(small_server, f"stats:{name}", token, fields="p90")).json()
        assert (body["offset"], body["value"], body["p90"]) == (
            value,
            value,
            np.quantile(range(1, value + 1), 0.9),
        )


async def test_one_user_reads_any_number_of_windows_one_after_the_other(
    small_server: Server, token: str, name: str
) -> None:
    await fill(small_server, f"stats:{name}", token, [[1, 2, 3]])
    for window in range(1, 40):
        body = (await get(small_server, f"stats:{name}", token, window=window)).json()
        assert body["count"] == min(window, 3)
