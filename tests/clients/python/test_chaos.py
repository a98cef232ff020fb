"""Connections that are cut at random: a short look; `make soak` has the long one."""

import random

from tests.client_chaos import run_chaos
from tests.servers import Server


async def test_nothing_is_missing_or_twice_and_each_gap_is_told(
    client_server: Server, client_token: str
) -> None:
    account = await run_chaos(
        client_server, client_token, seconds=6, publications=1200, dice=random.Random(5)
    )
    print(account)
    assert account.accepted == 1200
    assert (account.missing, account.twice, account.unreported) == (0, 0, 0)
    assert account.reconnects > 20
    assert account.gaps > 0
