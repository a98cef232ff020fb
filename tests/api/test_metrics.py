"""What Prometheus is told."""

import httpx

from tests.clients import open_client
from tests.servers import Server


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
    await open_and_leave(server, token)
    assert [now - then for now, then in zip(during, before, strict=True)] == [1, 2, 1, 0, 0, 1, 0]
    after = [now - then for now, then in zip(count_all(), before, strict=True)]
    assert after == [0, 2, 1, 1, 1, 1, 3]


async def open_and_leave(server: Server, token: str) -> None:
    """One more session, after which those before have ended on the server too."""
    async with open_client(f"{server.ws}/ws/broadcast/metrics/", token) as client:
        await client.receive_type("subscribed")


async def test_what_clients_make_up_names_no_series(server: Server, token: str) -> None:
    async with open_client(f"{server.ws}/ws/madeup/name/", token) as client:
        code, _ = await client.wait_closed()
    assert code == 4504
    text = httpx.get(f"{server.http}/metrics").text
    assert "madeup" not in text
    assert 'realtime_sessions_ended_total{code="4504",namespace="unknown"}' in text


async def test_close_codes_that_clients_make_up_are_one_series(server: Server, token: str) -> None:
    for code in (4321, 4322):
        async with open_client(f"{server.ws}/ws/broadcast/metrics/", token) as client:
            await client.receive_type("subscribed")
            await client.connection.close(code)
    await open_and_leave(server, token)
    text = httpx.get(f"{server.http}/metrics").text
    assert 'realtime_sessions_ended_total{code="other",namespace="broadcast"}' in text
    assert "432" not in [line.partition('code="')[2][:3] for line in text.splitlines()]


def test_metrics_are_plain_text_that_is_never_cached_and_only_read(server: Server) -> None:
    response = httpx.get(f"{server.http}/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert "no-store" in response.headers["Cache-Control"]
    assert httpx.post(f"{server.http}/metrics").is_client_error
