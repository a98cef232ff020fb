"""What Prometheus is told. A session ends on the server a moment after it has for its client."""

import asyncio
import time
from collections.abc import Callable

import httpx

from tests.clients import open_client
from tests.servers import Server


def read_text(server: Server) -> str:
    return httpx.get(f"{server.http}/metrics", timeout=30).text


async def wait_until(is_right: Callable[[], bool]) -> None:
    """Until it is; what it looks at is judged by whoever waits, so there is no error here."""
    deadline = time.monotonic() + 15
    while not is_right() and time.monotonic() < deadline:
        await asyncio.sleep(0.05)


async def test_sessions_publications_recoveries_and_errors_are_counted(
    server: Server, token: str
) -> None:
    family = {"namespace": "blobs"}
    url = f"{server.ws}/ws/blobs/metrics/"

    def count(name: str, **labels: str) -> float:
        return server.read_metric(f"realtime_{name}", **labels)

    def count_all() -> list[float]:
        return [
            count("sessions", **family),
            count("publications_total", **family, result="accepted"),
            count("publications_total", **family, result="duplicate"),
            count("recoveries_total", **family, recovered="true"),
            count("recoveries_total", **family, recovered="false"),
            count("errors_total", code="invalid_json"),
            count("sessions_ended_total", **family, code="1000"),
        ]

    await wait_until(lambda: count("sessions", **family) == 0)  # those of other tests
    before = count_all()
    async with open_client(url, token) as client:
        position = await client.receive_type("subscribed")
        for id in ("one", "two", "two"):
            await client.send({"type": "binary", "chunks": 1, "id": id, "ref": id})
            await client.send(b"x")
            await client.receive_type("ack")
        await client.send("{")
        await client.receive_type("error")
        during = count_all()
    for epoch in (position["epoch"], "another"):
        async with open_client(f"{url}?epoch={epoch}&offset=1", token) as client:
            await client.receive_type("subscribed")
    assert [now - then for now, then in zip(during, before, strict=True)] == [1, 2, 1, 0, 0, 1, 0]
    await wait_until(lambda: count_all()[-1] == before[-1] + 3)
    after = [now - then for now, then in zip(count_all(), before, strict=True)]
    assert after == [0, 2, 1, 1, 1, 1, 3]


async def test_what_clients_make_up_names_no_series(server: Server, token: str) -> None:
    async with open_client(f"{server.ws}/ws/madeup/name/", token) as client:
        code, _ = await client.wait_closed()
    assert code == 4504
    series = 'realtime_sessions_ended_total{code="4504",namespace="unknown"}'
    await wait_until(lambda: series in read_text(server))
    text = read_text(server)
    assert "madeup" not in text
    assert series in text


async def test_close_codes_that_clients_make_up_are_one_series(server: Server, token: str) -> None:
    series = {"namespace": "broadcast", "code": "other"}
    expected = server.read_metric("realtime_sessions_ended_total", **series) + 2
    for code in (4321, 4322):
        async with open_client(f"{server.ws}/ws/broadcast/metrics/", token) as client:
            await client.receive_type("subscribed")
            await client.connection.close(code)

    def count() -> float:
        return server.read_metric("realtime_sessions_ended_total", **series)

    await wait_until(lambda: count() == expected)
    assert count() == expected
    text = read_text(server)
    assert "432" not in [line.partition('code="')[2][:3] for line in text.splitlines()]


def test_metrics_are_plain_text_that_is_never_cached_and_only_read(server: Server) -> None:
    response = httpx.get(f"{server.http}/metrics", timeout=30)
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert "no-store" in response.headers["Cache-Control"]
    assert httpx.post(f"{server.http}/metrics", timeout=30).is_client_error
