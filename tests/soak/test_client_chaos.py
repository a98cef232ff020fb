"""Half a minute of connections that are cut at random, for twenty Python clients."""

import random
from collections.abc import Callable

from tests.client_chaos import run_chaos
from tests.servers import Project, Server, start_server
from tests.soak.pace import SCALE

SECONDS = 30.0
PUBLICATIONS = 6000


async def test_nothing_is_missing_or_twice_and_each_gap_is_told(
    make_project: Callable[..., Project], chance: Callable[[object], random.Random]
) -> None:
    """And at least 5,000 publications in the whole run."""
    project = make_project(
        DJANGO_SETTINGS_MODULE="tests.project_settings",
        REALTIME_MESSAGES_PER_SECOND="0",
        REALTIME_BYTES_PER_SECOND="0",
        REALTIME_HANDSHAKES_PER_SECOND="0",
    )
    token = project.issue_token()
    server: Server = start_server(project, "serve")
    try:
        account = await run_chaos(
            server,
            token,
            seconds=SECONDS * SCALE,
            publications=int(PUBLICATIONS * SCALE),
            dice=chance("cuts"),
        )
    finally:
        server.stop()
    print(account)
    assert account.accepted >= 5000 * SCALE
    assert (account.missing, account.twice, account.unreported) == (0, 0, 0)
