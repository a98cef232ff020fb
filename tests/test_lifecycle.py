"""From start to end, on each server: `manage.py serve`, uvicorn, and what the log shows."""

import asyncio
import json
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx
import numpy as np
import pytest

from realtime.lifecycle import RuntimeMiddleware
from tests.clients import open_client
from tests.servers import STOP_TIMEOUT, Project, Server

Launch = Callable[..., Server]


def read_lines(server: Server) -> list[dict[str, Any]]:
    """The log of a server with LOG_FORMAT=json."""
    lines = []
    for line in server.read_log().splitlines():
        assert line.startswith("{"), line
        lines.append(json.loads(line))
    return lines


async def test_serve_tells_its_sessions_writes_them_down_and_exits_with_0(
    make_project: Callable[..., Project], launch: Launch
) -> None:
    project = make_project(LOG_FORMAT="json")
    server = await asyncio.to_thread(launch, project, "serve")
    token = await asyncio.to_thread(project.issue_token)
    headers = {"Authorization": f"Bearer {token}"}
    for path in ("/livez?secret=one", "/api/nowhere?token=secret", "/?password=secret"):
        await asyncio.to_thread(httpx.get, server.http + path, headers=headers, timeout=30)
    async with (
        open_client(f"{server.ws}/ws/broadcast/a/", token) as one,
        open_client(f"{server.ws}/ws/stats/a/?window=10s", token) as two,
        open_client(f"{server.ws}/ws/echo/", token) as echo,
        open_client(f"{server.ws}/ws/broadcast/late/") as unsigned,
    ):
        for client in (one, two):
            await client.receive_type("subscribed")
        await echo.send("x")
        await echo.connection.recv()
        await one.send({"type": "publish", "data": 1, "ref": 1})
        await one.receive_type("ack")
        server.process.send_signal(signal.SIGTERM)
        for client in (one, two, echo):
            code, _ = await client.wait_closed()
            assert code == 1012
        await unsigned.wait_closed()
        assert await asyncio.to_thread(server.process.wait, STOP_TIMEOUT) == 0
    with closing(sqlite3.connect(project.folder / "db.sqlite3")) as database:
        rows = database.execute(
            "SELECT topic, close_code FROM realtime_session WHERE closed_at IS NOT NULL"
        ).fetchall()
        assert sorted(rows) == [("broadcast:a", 1012), ("echo", 1012), ("stats:a", 1012)]
        (live,) = database.execute(
            "SELECT count(*) FROM realtime_instance"
            " WHERE lease_until > strftime('%Y-%m-%d %H:%M:%f', 'now')"
        ).fetchone()
        assert live == 0

    log = server.read_log()
    assert "Not Found" in log
    assert "secret" not in log
    assert token not in log
    requests = [line for line in read_lines(server) if line["message"] == "request"]
    assert {"/livez", "/api/nowhere", "/"} <= {line["path"] for line in requests}
    opened = [line for line in read_lines(server) if line["message"] == "session opened"]
    closed = [line for line in read_lines(server) if line["message"] == "session closed"]
    assert {line["topic"] for line in opened} == {"broadcast:a", "stats:a", "echo"}
    for line in closed:
        assert (line["user"], line["code"]) == ("anna", 1012)
        assert {"seconds", "messages_in", "messages_out", "bytes_in", "bytes_out"} <= set(line)


async def test_uvicorn_serves_the_same(
    make_project: Callable[..., Project], launch: Launch
) -> None:
    project = make_project(LOG_FORMAT="text")
    server = await asyncio.to_thread(launch, project, "uvicorn", "--no-access-log")
    token = await asyncio.to_thread(project.issue_token)
    await asyncio.to_thread(httpx.get, server.http + "/api/nowhere?token=secret", timeout=30)
    async with open_client(f"{server.ws}/ws/echo/", token) as echo:
        for message in ("hello", "", b"", b"\x00\xff"):
            await echo.send(message)
            assert await echo.connection.recv() == message
    async with (
        open_client(f"{server.ws}/ws/broadcast/a/", token) as one,
        open_client(f"{server.ws}/ws/broadcast/a/", token) as two,
    ):
        for client in (one, two):
            await client.receive_type("subscribed")
        await one.send({"type": "publish", "data": {"n": 1}, "ref": 1})
        for client in (one, two):
            assert (await client.receive_type("publication"))["data"] == {"n": 1}
    async with open_client(f"{server.ws}/ws/stats/a/", token) as stats:
        await stats.receive_type("subscribed")
        for value in (1, 3):
            await stats.send({"value": value})
        message = await stats.receive_type("stats")
        while message["offset"] < 2:
            message = await stats.receive_type("stats")
        assert (message["mean"], message["count"]) == (2, 2)
    async with open_client(f"{server.ws}/ws/arrays/a/", token) as arrays:
        await arrays.receive_type("subscribed")
        await arrays.send({"shape": [600, 500]})
        header, array = await arrays.receive_array()
        assert (header["dtype"], array.shape, array.dtype) == ("float64", (600, 500), np.float64)
        assert header["chunks"] == 3
    async with open_client(f"{server.ws}/ws/nowhere/a/", token) as nowhere:
        assert (await nowhere.wait_closed())[0] == 4504
    # Uvicorn ends in order and then once more by the signal that it was sent.
    assert await asyncio.to_thread(server.stop) == -signal.SIGTERM
    with closing(sqlite3.connect(project.folder / "db.sqlite3")) as database:
        (open_rows,) = database.execute(
            "SELECT count(*) FROM realtime_session WHERE closed_at IS NULL"
        ).fetchone()
    assert open_rows == 0
    assert "Not Found" in server.read_log()
    assert "secret" not in server.read_log()


async def test_the_lifespan_begins_and_ends_with_the_runtime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    course: list[str] = []

    async def stop() -> None:
        course.append("runtime stopped")

    monkeypatch.setattr(
        "realtime.lifecycle.get_server_runtime", lambda: course.append("runtime started")
    )
    monkeypatch.setattr("realtime.lifecycle.stop_server_runtime", stop)
    events = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, str]:
        return {"type": next(events)}

    async def send(event: dict[str, str]) -> None:
        course.append(event["type"])

    async def never(*_: Any) -> None:
        raise AssertionError("a lifespan is not for the application")

    await RuntimeMiddleware(never)({"type": "lifespan"}, receive, send)
    assert course == [
        "runtime started",
        "lifespan.startup.complete",
        "runtime stopped",
        "lifespan.shutdown.complete",
    ]


async def test_each_scope_says_when_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.lifecycle.get_server_runtime", lambda: None)
    seen: list[dict[str, Any]] = []

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope)

    scope = {"type": "websocket", "path": "/ws/echo/"}
    await RuntimeMiddleware(application)(scope, None, None)
    assert seen[0]["path"] == "/ws/echo/"
    assert isinstance(seen[0]["realtime.began"], float)
