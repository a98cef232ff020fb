"""Redis hangs, so other instances cannot be told: nothing waits for it for long."""

import asyncio
import signal
import time
from collections.abc import Callable

import httpx

from realtime.core.close_codes import CloseCode
from tests.revocation.conftest import Stage
from tests.revocation.scenes import LIMIT
from tests.revocation.watchers import PATIENCE, watch

Report = Callable[[str], None]


async def test_signing_out_while_redis_hangs_ends_what_is_there_and_the_rest_when_it_is_back(
    stage: Stage, report: Report
) -> None:
    user, other = await stage.make_user(), await stage.make_user()
    path = f"broadcast/{stage.make_name()}/"
    async with (
        watch([stage.servers[0]], [path], user.access) as here,
        watch([stage.sweeper], [path], user.access) as there,
        watch(stage.all_servers, [path], other.access) as spared,
    ):
        stage.redis.signal(signal.SIGSTOP)
        try:
            began = time.time()
            answer = await asyncio.to_thread(
                httpx.post,
                f"{stage.servers[0].http}/api/token/revoke/",
                json={"refresh": user.refresh},
                timeout=PATIENCE,
            )
            answered = time.time() - began
            _, at = await stage.run(f"change({other.name!r}, first_name='Otto', is_staff=True)")
            codes = [await watcher.wait_closed() for watcher in [*here, *there]]
        finally:
            stage.redis.signal(signal.SIGCONT)
        ended = [watcher.closed_at - began for watcher in [*here, *there]]
        report(
            f"answered after {answered:.1f} s, a change saved after {at - began - answered:.1f} s, "
            f"ended after {ended[0]:.2f} s here and {ended[1]:.2f} s elsewhere"
        )
        assert answer.status_code == 204
        assert max(answered, at - began - answered) < LIMIT
        assert codes == [CloseCode.REVOKED, CloseCode.REVOKED]
        await stage.wait_told()
        for watcher in spared:
            await watcher.check_alive()
