"""One change, and who loses their sessions by it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from realtime.core.close_codes import CloseCode
from tests.revocation.conftest import Stage, User
from tests.revocation.watchers import Watcher, watch

# Two seconds are promised; a test may wait twice as long. It is less than the ten for which a
# policy that never answers is waited for.
LIMIT = 4.0


@dataclass
class Outcome:
    """In seconds after the change: the last close, and the last publication that was delivered."""

    closed: float
    delivered: float

    def __str__(self) -> str:
        return f"closed after {self.closed:.2f} s, delivered until {self.delivered:.2f} s"


async def change(
    stage: Stage,
    user: User,
    cause: str | Callable[[], Awaitable[float]],
    code: CloseCode,
    *,
    spares: Sequence[str] = (),
    kinds: Sequence[str] = ("crew", "figures"),
) -> Outcome:
    """Run the cause, in the job where it is Python text, and see that it ends, with this code,
    the user's sessions on a topic of each kind on both instances, those on the paths `spares`
    not, and another user's not at all.
    """
    name = stage.make_name()
    topics = [f"{kind}:{name}" for kind in kinds]
    paths = [f"{kind}/{name}/" for kind in kinds]
    if not spares:
        paths.append("echo/")
    async with (
        stage.publishing(*topics) as root,
        watch(stage.servers, [*paths, *spares], user.access) as mine,
        watch(stage.servers, [*paths, *spares], root.access) as others,
    ):
        doomed = [watcher for watcher in mine if watcher.path in paths]
        await hear_more([watcher for watcher in mine if watcher.path.startswith(tuple(kinds))])
        if isinstance(cause, str):
            _, at = await stage.run(cause)
        else:
            at = await cause()
        codes = {await watcher.wait_closed() for watcher in doomed}
        assert codes == {code}, {watcher.path: watcher.code for watcher in doomed}
        for watcher in [*mine, *others]:
            if watcher not in doomed:
                await watcher.check_alive()
        await hear_more([watcher for watcher in others if watcher.path.startswith(tuple(kinds))])
        for watcher in others:
            if watcher.path.startswith("crew"):
                first, last = watcher.offsets[0], watcher.offsets[-1]
                assert watcher.offsets == list(range(first, last + 1))
    outcome = Outcome(
        max(watcher.closed_at for watcher in doomed) - at,
        max(watcher.last_published for watcher in doomed) - at,
    )
    assert outcome.closed < LIMIT
    assert outcome.delivered < LIMIT
    return outcome


async def hear_more(watchers: Sequence[Watcher]) -> None:
    """Wait until each has got two publications more."""
    before = {watcher: len(watcher.offsets) for watcher in watchers}
    for watcher, count in before.items():
        await watcher.wait_count(count + 2)
