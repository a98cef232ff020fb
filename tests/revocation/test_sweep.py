"""What nobody hears of: each instance looks at everybody once in a while."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, closing

import redis as redis_client

from realtime.core.close_codes import CloseCode
from tests.revocation.conftest import RECHECK_SECONDS, Stage
from tests.revocation.scenes import LIMIT
from tests.revocation.settings import READ
from tests.revocation.watchers import PATIENCE, watch

Report = Callable[[str], None]
REVOKED, DENIED = CloseCode.REVOKED, CloseCode.PERMISSION_DENIED

# Changes that send no signal: what is done, where the user was, and how that ends.
SILENT = {
    "query set, inactive": (
        "User.objects.filter(pk={pk}).update(is_active=False)",
        "broadcast",
        REVOKED,
    ),
    "query set, no longer staff": (
        "User.objects.filter(pk={pk}).update(is_staff=False)",
        "office",
        DENIED,
    ),
    "query set, sign-in revoked": (
        "from django.utils import timezone\n"
        "SignIn.objects.filter(user_id={pk}).update(revoked_at=timezone.now())",
        "broadcast",
        REVOKED,
    ),
    "rows of permissions deleted": (
        "User.user_permissions.through.objects.filter(user_id={pk}).delete()",
        "crew",
        DENIED,
    ),
    "rows of sign-ins deleted": (
        "SignIn.objects.filter(user_id={pk}).delete()",
        "broadcast",
        REVOKED,
    ),
    "another answer of a policy": ("(REFUSED / {name!r}).touch()", "judged", DENIED),
    "another answer of an awaited policy": ("(REFUSED / {name!r}).touch()", "awaited", DENIED),
    "by SQL": ("", "broadcast", REVOKED),
}


async def test_what_no_signal_tells_of_is_found_by_the_sweep(stage: Stage, report: Report) -> None:
    name = stage.make_name()
    async with AsyncExitStack() as stack:
        doomed = []
        for what, (text, kind, code) in SILENT.items():
            user = await stage.make_user(READ, is_staff=True)
            (watcher,) = await stack.enter_async_context(
                watch([stage.sweeper], [f"{kind}/{name}/"], user.access)
            )
            doomed.append((what, text.format(pk=user.pk, name=user.name), code, user, watcher))
        kept = await stage.make_user(READ, is_staff=True)
        kinds = sorted({kind for _, kind, _ in SILENT.values()})
        spared = await stack.enter_async_context(
            watch([stage.sweeper], [f"{kind}/{name}/" for kind in kinds], kept.access)
        )
        moments = []
        for _, text, _, user, _ in doomed:
            if text:
                _, at = await stage.run(text)
            else:
                at = execute(stage, "UPDATE accounts_user SET is_active = 0 WHERE id = ?", user.pk)
            moments.append(at)
        codes = {what: await watcher.wait_closed() for what, _, _, _, watcher in doomed}
        assert codes == {what: code for what, _, code, _, _ in doomed}
        ends = zip(doomed, moments, strict=True)
        seconds = max(watcher.closed_at - at for (*_, watcher), at in ends)
        report(f"each found after {seconds:.2f} s, at one look each {RECHECK_SECONDS:g} s")
        assert seconds < LIMIT
        for watcher in spared:
            await watcher.check_alive()


async def test_a_message_that_redis_lost_is_made_up_for_by_the_sweep(
    stage: Stage, report: Report
) -> None:
    """The instance's subscription is cut, and it hears nothing until it has connected anew."""
    user = await stage.make_user()
    path = f"broadcast/{stage.make_name()}/"
    async with watch([stage.sweeper], [path, "echo/"], user.access) as watchers:
        with redis_client.Redis(port=stage.redis.port) as redis:
            redis.client_kill_filter(_type="pubsub", skipme=False)
        _, at = await stage.run(f"change({user.name!r}, is_active=False)")
        for watcher in watchers:
            assert await watcher.wait_closed() == REVOKED
        seconds = max(watcher.closed_at for watcher in watchers) - at
        report(f"closed after {seconds:.2f} s")
        assert seconds < LIMIT
    await stage.wait_told()


def execute(stage: Stage, statement: str, key: int) -> float:
    """Change the database file behind everybody's back; returns when that was done."""
    path = stage.project.folder / "db.sqlite3"
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as database, database:
        database.execute(statement, [key])
    return time.time()
