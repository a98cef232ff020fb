"""The database cannot be asked for a while: nobody is ended for that, and newcomers come back."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import httpx
import pytest

from realtime.core.close_codes import CloseCode
from tests.revocation.conftest import Stage
from tests.revocation.settings import READ
from tests.revocation.watchers import PATIENCE, open_watcher, watch


@asynccontextmanager
async def without_table(stage: Stage, name: str) -> AsyncIterator[None]:
    """Whoever reads that table gets an error during the block."""
    await asyncio.to_thread(rename, stage, name, f"{name}_away")
    try:
        yield
    finally:
        await asyncio.to_thread(rename, stage, f"{name}_away", name)


def rename(stage: Stage, old: str, new: str) -> None:
    path = stage.project.folder / "db.sqlite3"
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as database, database:
        database.execute("PRAGMA legacy_alter_table = ON")  # references keep the name
        database.execute(f"ALTER TABLE {old} RENAME TO {new}")


@pytest.mark.parametrize("way", ["header", "message"])
@pytest.mark.parametrize(
    "table", ["accounts_signin", "accounts_user_user_permissions"], ids=["sign-in", "permission"]
)
async def test_who_cannot_be_checked_is_told_to_try_again(
    stage: Stage, table: str, way: str
) -> None:
    user = await stage.make_user(READ)
    path = f"crew/{stage.make_name()}/"
    token = user.access if way == "header" else None
    async with (
        without_table(stage, table),
        open_watcher(stage.servers[0], path, token) as watcher,
    ):
        if token is None:
            await watcher.send({"type": "authenticate", "token": user.access})
        assert await watcher.wait_closed() == CloseCode.TRY_AGAIN_LATER
    async with watch(stage.servers[:1], [path], user.access) as watchers:
        await watchers[0].check_alive()


@pytest.mark.parametrize("table", ["accounts_signin", "accounts_user_user_permissions"])
async def test_a_token_that_cannot_be_checked_leaves_the_session_as_it_is(
    stage: Stage, table: str
) -> None:
    user = await stage.make_user(READ)
    async with watch(stage.servers[:1], [f"crew/{stage.make_name()}/"], user.access) as watchers:
        async with without_table(stage, table):
            answer = await watchers[0].ask({"type": "refresh", "token": user.access, "ref": "r"})
            assert (answer["type"], answer["code"]) == ("error", "unavailable")
        await watchers[0].check_alive()
        answer = await watchers[0].ask({"type": "refresh", "token": user.access, "ref": "again"})
        assert answer["type"] == "refreshed"


@pytest.mark.parametrize("table", ["accounts_signin", "accounts_user_user_permissions"])
async def test_a_request_that_cannot_be_checked_is_answered_503(stage: Stage, table: str) -> None:
    user = await stage.make_user(READ)
    url = f"{stage.servers[0].http}/api/topics/crew:{stage.make_name()}/publications/"
    headers = {"Authorization": f"Bearer {user.access}"}
    async with without_table(stage, table):
        answer = await asyncio.to_thread(httpx.get, url, headers=headers, timeout=PATIENCE)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_a_sweep_that_cannot_ask_ends_nobody_and_goes_on_later(stage: Stage) -> None:
    user, other = await stage.make_user(READ), await stage.make_user(READ)
    path = f"crew/{stage.make_name()}/"
    async with (
        watch([stage.sweeper], [path, "echo/"], user.access) as doomed,
        watch([stage.sweeper], [path, "echo/"], other.access) as spared,
    ):
        async with without_table(stage, "accounts_signin"):
            failures = count_failures(stage)
            async with asyncio.timeout(PATIENCE):
                while count_failures(stage) == failures:
                    await asyncio.sleep(0.05)
            for watcher in [*doomed, *spared]:
                await watcher.check_alive()
        await stage.run(f"User.objects.filter(pk={user.pk}).update(is_active=False)")
        for watcher in doomed:
            assert await watcher.wait_closed() == CloseCode.REVOKED
        for watcher in spared:
            await watcher.check_alive()


def count_failures(stage: Stage) -> int:
    """How many looks at everybody failed, as the log has it."""
    return stage.sweeper.read_log().count("sessions could not be checked now")
