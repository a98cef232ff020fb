"""Who reads slowly, and what takes its time, holds nobody's end up."""

import asyncio
import json
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from realtime.core.close_codes import CloseCode
from realtime.outbox import ABORT_DELAY
from tests.revocation.conftest import Stage, User
from tests.revocation.scenes import LIMIT
from tests.revocation.settings import READ
from tests.revocation.watchers import PATIENCE, open_watcher, watch
from tests.servers import Server

Report = Callable[[str], None]
COUNT, SIZE = 30, 20_000


def connect_slowly(server: Server, path: str, user: User) -> Any:
    """A client whose kernel takes next to nothing, until the client itself reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.connect(("127.0.0.1", server.port))
    return connect(
        f"{server.ws}/ws/{path}",
        sock=sock,
        additional_headers={"Authorization": f"Bearer {user.access}"},
        max_queue=1,
        open_timeout=PATIENCE,
        ping_interval=None,
        compression=None,
        close_timeout=0.1,
    )


async def test_what_waits_for_a_slow_reader_is_not_delivered_after_its_end(
    stage: Stage, report: Report
) -> None:
    user, root = await stage.make_user(READ), await stage.make_user(is_superuser=True)
    name = stage.make_name()
    path = f"crew/{name}/"
    async with (
        connect_slowly(stage.servers[0], path, user) as reading,
        connect_slowly(stage.servers[0], path, user) as stuck,
        open_watcher(stage.servers[0], path, user.access) as quick,
        open_watcher(stage.servers[1], f"{path}?subscribe=0", root.access) as publisher,
    ):
        for session in (reading, stuck):
            assert [json.loads(await session.recv())["type"] for _ in range(2)] == [
                "hello",
                "subscribed",
            ]
        await quick.wait_for(type="subscribed")
        for number in range(COUNT):
            await publisher.ask({"type": "publish", "data": "x" * SIZE, "ref": number})
        await quick.wait_count(COUNT)
        _, at = await stage.run(f"change({user.name!r}, is_active=False)")
        assert await quick.wait_closed() == CloseCode.REVOKED  # and in that moment the others are
        heard = await read_to_end(reading)
        closed = time.time() - at
        assert reading.close_code == CloseCode.REVOKED
        rows = await wait_ended(stage, f"crew:{name}", 3)
        ended = time.time() - at
    report(
        f"{len(heard)} of {COUNT} delivered to who reads slowly, closed after {closed:.2f} s; "
        f"who does not read at all is cut after {ended:.2f} s"
    )
    assert len(heard) < COUNT - 5
    assert closed < LIMIT
    assert ended < ABORT_DELAY + LIMIT
    assert rows == 3


async def read_to_end(session: ClientConnection) -> list[Any]:
    """All messages until the server closes."""
    messages = []
    with suppress(ConnectionClosed):
        while True:
            messages.append(await session.recv())
    return messages


async def wait_ended(stage: Stage, topic: str, count: int) -> int:
    """Wait until so many of the topic's sessions have ended, as the database has it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with closing(sqlite3.connect(stage.project.folder / "db.sqlite3")) as database:
            (ended,) = database.execute(
                "SELECT count(*) FROM realtime_session"
                " WHERE topic = ? AND closed_at IS NOT NULL AND user_id IS NOT NULL"
                " AND close_code = ?",
                [topic, int(CloseCode.REVOKED)],
            ).fetchone()
        if ended >= count or time.monotonic() > deadline:
            return int(ended)
        await asyncio.sleep(0.1)


async def test_what_is_still_being_processed_when_its_publisher_is_out_is_not_published(
    stage: Stage,
) -> None:
    user, other = await stage.make_user(), await stage.make_user()
    name = stage.make_name()
    path = f"slow/{name}/"
    async with (
        watch(stage.servers, [path], user.access) as mine,
        watch(stage.servers, [path], other.access) as others,
    ):
        for number, watcher in enumerate(mine):
            await watcher.send({"type": "publish", "data": f"{name}-{number}", "ref": number})
        await wait_files(stage, f"PROCESSED.glob('{name}-?')", len(mine))
        await stage.run(f"change({user.name!r}, is_active=False)")
        for watcher in mine:
            assert await watcher.wait_closed() == CloseCode.REVOKED
        names = [f"{name}-{number}-done" for number in (0, 1, "last")]
        await stage.run(f"for name in {names}:\n    (PROCESSED / name).touch()")
        await asyncio.sleep(0.3)
        last = {"type": "publish", "data": f"{name}-last", "ref": "last"}
        assert (await others[0].ask(last))["offset"] == 1
        for watcher in others:
            await watcher.wait_count(1)
            await watcher.check_alive()
            assert watcher.offsets == [1]


async def test_a_policy_that_never_answers_holds_up_nobody_else_s_check(
    stage: Stage, report: Report
) -> None:
    stuck = await stage.make_user(suffix="stuck")
    user = await stage.make_user(READ)
    awaited, crew = f"awaited/{stage.make_name()}/", f"crew/{stage.make_name()}/"
    async with (
        watch(stage.servers, [awaited], stuck.access) as unclear,
        watch(stage.servers, [crew], user.access) as doomed,
    ):
        await stage.run(f"(REFUSED / {stuck.name!r}).touch()\nrealtime.recheck(users=[{stuck.pk}])")
        await wait_files(stage, f"STUCK.glob('{stuck.name}-*')", len(unclear))
        _, at = await stage.run(f"get({user.name!r}).user_permissions.clear()")
        for watcher in doomed:
            assert await watcher.wait_closed() == CloseCode.PERMISSION_DENIED
        seconds = max(watcher.closed_at for watcher in doomed) - at
        report(f"closed after {seconds:.2f} s")
        assert seconds < LIMIT
        for watcher in unclear:
            await watcher.check_alive()


async def wait_files(stage: Stage, found: str, count: int) -> None:
    """Wait until the job finds so many of these files."""
    async with asyncio.timeout(PATIENCE):
        while (await stage.run(f"result = len(list({found}))"))[0] < count:
            await asyncio.sleep(0.02)
