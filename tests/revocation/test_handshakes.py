"""Changes while sessions begin, and when they show a new token."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime

import pytest

from realtime.core.close_codes import CloseCode
from tests.revocation.conftest import GRACE, Stage, User
from tests.revocation.scenes import LIMIT
from tests.revocation.settings import READ
from tests.revocation.watchers import Watcher, open_watcher, watch

Report = Callable[[str], None]
ROUNDS, CONNECTS = 8, 24
SHORT = 3  # the life of a token that is over soon, in seconds

TAKE = {
    "is_active": "change({name!r}, is_active=False)",
    "sign-in": (
        "from accounts.tokens import revoke_sign_in\n"
        "for sign_in in SignIn.objects.filter(user__username={name!r}):\n"
        "    revoke_sign_in(sign_in.pk)"
    ),
    "permission": f"get({{name!r}}).user_permissions.remove(*find_permissions({READ!r}))",
}
# And what makes it good again, for the next round.
GIVE = {
    "is_active": "change({name!r}, is_active=True)",
    "sign-in": "",
    "permission": f"get({{name!r}}).user_permissions.add(*find_permissions({READ!r}))",
}


@pytest.mark.parametrize("what", TAKE)
async def test_nobody_who_connects_at_that_moment_stays(
    stage: Stage, report: Report, what: str
) -> None:
    user = await stage.make_user(READ)
    codes: Counter[int] = Counter()
    welcomed = 0
    for _ in range(ROUNDS):
        await stage.run(GIVE[what].format(name=user.name))
        user.access = (await stage.run(f"result = sign_in({user.name!r})"))[0]["access"]
        watchers = await connect_meanwhile(stage, user, TAKE[what].format(name=user.name))
        codes.update(int(watcher.code or 0) for watcher in watchers)
        welcomed += sum(bool(watcher.messages) for watcher in watchers)
    report(f"{codes.total()} connects, {welcomed} were welcomed; closed with {dict(codes)}")
    wanted = {CloseCode.PERMISSION_DENIED}
    if what != "permission":
        wanted = {CloseCode.INVALID_TOKEN, CloseCode.REVOKED}
    assert set(codes) <= wanted


async def connect_meanwhile(stage: Stage, user: User, text: str) -> list[Watcher]:
    """Run the text while many connect; returns those, ended."""
    async with AsyncExitStack() as stack:

        async def begin(number: int) -> Watcher:
            await asyncio.sleep(random.random() * 0.06)
            server = stage.servers[number % 2]
            path = "figures/handshake/" if number % 3 else "crew/handshake/"
            return await stack.enter_async_context(open_watcher(server, path, user.access))

        async def run() -> float:
            await asyncio.sleep(0.02)
            _, at = await stage.run(text)
            return at

        at, *watchers = await asyncio.gather(run(), *map(begin, range(CONNECTS)))
        for watcher in watchers:
            await watcher.wait_closed()
            assert watcher.closed_at - max(at, watcher.opened_at) < LIMIT
        return watchers


async def test_a_new_token_does_not_help_who_has_lost_the_right(stage: Stage) -> None:
    """Nothing was heard of it, and no sweep has come by: asking for more time is the end."""
    user = await stage.make_user()
    token = (await stage.run(f"result = sign_in({user.name!r})"))[0]["access"]
    rows = "User.user_permissions.through.objects"
    give = f"{rows}.create(user_id={user.pk}, permission=find_permissions({READ!r})[0])"
    await stage.run(give)  # of which nothing is heard either
    async with watch(stage.servers, [f"crew/{stage.make_name()}/"], user.access) as watchers:
        await stage.run(f"{rows}.filter(user={user.pk}).delete()")
        for watcher in watchers:
            await watcher.check_alive()
            await watcher.send({"type": "refresh", "token": token, "ref": "r"})
            assert await watcher.wait_closed() == CloseCode.PERMISSION_DENIED
            assert not any(message["type"] == "refreshed" for message in watcher.messages)


async def test_a_revoked_token_moves_no_expiry(stage: Stage) -> None:
    user = await stage.make_user()
    revoked, _ = await stage.run(f"result = sign_in({user.name!r})")
    await stage.run(
        "from accounts.tokens import revoke_refresh_token\n"
        f"revoke_refresh_token({revoked['refresh']!r})"
    )
    async with watch(stage.servers, [f"broadcast/{stage.make_name()}/"], user.access) as watchers:
        short, _ = await stage.run(
            f"from datetime import timedelta\nlifetime = timedelta(seconds={SHORT})\n"
            f"result = issue_access_token(user=get({user.name!r}), lifetime=lifetime)"
        )
        for watcher in watchers:
            await watcher.send({"type": "refresh", "token": short, "ref": "short"})
            await watcher.send({"type": "refresh", "token": revoked["access"], "ref": "revoked"})
        for watcher in watchers:
            refreshed = await watcher.wait_for(ref="short")
            expiry = datetime.fromisoformat(refreshed["expires_at"]).timestamp()
            answer = await watcher.wait_for(ref="revoked")
            assert (answer["type"], answer["code"]) == ("error", "invalid_token")
            assert await watcher.wait_closed() == CloseCode.TOKEN_EXPIRED
            assert -0.1 < watcher.closed_at - expiry - GRACE < LIMIT


async def test_a_session_belongs_to_the_sign_in_of_its_newest_token(stage: Stage) -> None:
    user = await stage.make_user()
    newer = (await stage.run(f"result = sign_in({user.name!r})"))[0]
    revoke = "from accounts.tokens import revoke_refresh_token\nrevoke_refresh_token({!r})"
    async with watch(stage.servers, [f"broadcast/{stage.make_name()}/"], user.access) as watchers:
        for watcher in watchers:
            answer = await watcher.ask({"type": "refresh", "token": newer["access"], "ref": "r"})
            assert answer["type"] == "refreshed"
        await stage.run(revoke.format(user.refresh))
        await asyncio.sleep(0.3)
        for watcher in watchers:
            await watcher.check_alive()
        await stage.run(revoke.format(newer["refresh"]))
        for watcher in watchers:
            assert await watcher.wait_closed() == CloseCode.REVOKED
