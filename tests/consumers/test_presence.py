"""Who is on a topic, as clients see it: in one process, and on two instances over Redis."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from realtime.roster import MOST_TOLD
from tests.clients import TIMEOUT, Client, open_client
from tests.consumers.conftest import Join
from tests.servers import Project, RedisServer, Server, start_server

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


@dataclass
class Place:
    """Two ways in, which are one and the same server where there is one process only."""

    one: Server
    two: Server
    token: str


@pytest.fixture(scope="module", params=["one process", "two instances"])
def place(
    request: pytest.FixtureRequest,
    make_project: Callable[..., Project],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    environment = {"DJANGO_SETTINGS_MODULE": "tests.presence_settings"}
    kinds = ["daphne"]
    if request.param == "two instances":
        redis.start()
        environment["REDIS_URL"] = redis.url
        kinds = ["serve", "daphne"]
    project = make_project(**environment)
    token = project.issue_token()
    with ThreadPoolExecutor() as pool:
        servers = list(pool.map(lambda kind: start_server(project, kind), kinds))
    yield Place(servers[0], servers[-1], token)
    for server in servers:
        server.stop(kill=True)
        assert "never retrieved" not in server.read_log()
        assert "Traceback" not in server.read_log()
    redis.kill()


async def ask(client: Client) -> dict[str, Any]:
    """The answer to `presence`; what comes before it is passed over."""
    await client.send({"type": "presence", "ref": "who"})
    reply = await client.receive_type("presence")
    assert reply["ref"] == "who"
    return reply


async def wait_present(client: Client, sessions: set[str]) -> dict[str, Any]:
    """Ask until these and no others are present."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            reply = await ask(client)
            if {entry["session"] for entry in reply["sessions"]} == sessions:
                return reply
            await asyncio.sleep(0.02)


async def wait_known(client: Client, server: Server, path: str) -> None:
    """Until the client's instance has read who is there: from now on it tells of all others."""
    async with asyncio.timeout(60):
        while True:
            async with open_client(f"{server.ws}/ws/{path}") as other:
                session = (await other.receive())["session"]
                is_told = await is_told_of(client, "join", session, seconds=2.0)
            # It may have been read together with the others: then its end alone is told.
            if await is_told_of(client, "leave", session, seconds=30.0 if is_told else 2.0):
                return


async def is_told_of(client: Client, type: str, session: str, *, seconds: float) -> bool:
    """Whether this hint comes in that time; others before it are passed over."""
    with suppress(TimeoutError):
        while True:
            hint = await client.receive(seconds)
            if (hint["type"], hint["session"]) == (type, session):
                return True
    return False


async def take_hints(client: Client, count: int) -> set[tuple[str, str, str | None]]:
    """The next messages, which are all hints: (type, session, user)."""
    hints = set()
    for _ in range(count):
        message = await client.receive()
        assert message.keys() == {"type", "topic", "session", "user"}, message
        hints.add((message["type"], message["session"], message["user"]))
    return hints


@asynccontextmanager
async def crowd(server: Server, path: str, count: int) -> AsyncIterator[set[str]]:
    """That many anonymous sessions on a topic, which need not read what they are told."""
    async with AsyncExitStack() as stack:
        sessions = set()
        for _ in range(count):
            client = await stack.enter_async_context(
                open_client(f"{server.ws}/ws/{path}", max_queue=None)
            )
            sessions.add((await client.receive())["session"])
        yield sessions


async def test_who_comes_and_goes_is_told_to_the_others(
    place: Place, join: Join, name: str
) -> None:
    path = f"room/{name}/"
    async with join(place.one, path, place.token) as anna:
        await wait_known(anna, place.two, path)
        async with join(place.two, path, None) as nobody:
            assert await take_hints(anna, 1) == {("join", nobody.hello["session"], None)}
            async with join(place.one, path, place.token) as again:
                session = again.hello["session"]
                assert await take_hints(anna, 1) == {("join", session, "anna")}
                # The one elsewhere may hear of the first one too, when that was just written.
                while (hint := await nobody.receive())["session"] != session:
                    assert hint["session"] == anna.hello["session"]
                assert (hint["type"], hint["user"], hint["topic"]) == (
                    "join",
                    "anna",
                    f"room:{name}",
                )
            gone = ("leave", session, "anna")
            assert await take_hints(anna, 1) == await take_hints(nobody, 1) == {gone}
        assert await take_hints(anna, 1) == {("leave", nobody.hello["session"], None)}
        await anna.receive_nothing()


async def test_presence_lists_everybody_the_oldest_first(
    place: Place, join: Join, name: str
) -> None:
    path = f"room/{name}/"
    async with (
        join(place.one, path, place.token) as anna,
        join(place.two, path, None) as second,
        join(place.one, path, None) as third,
    ):
        sessions = [client.hello["session"] for client in (anna, second, third)]
        for client in (anna, second, third):
            reply = await wait_present(client, set(sessions))
            assert reply.keys() == {"type", "ref", "topic", "sessions", "count"}
            assert (reply["topic"], reply["count"]) == (f"room:{name}", 3)
            assert [entry["session"] for entry in reply["sessions"]] == sessions
            assert [entry["user"] for entry in reply["sessions"]] == ["anna", None, None]
            assert all(TIME.fullmatch(entry["since"]) for entry in reply["sessions"])
        assert all(entry.keys() == {"session", "user", "since"} for entry in reply["sessions"])


async def test_a_session_finds_itself_at_once(place: Place, join: Join, name: str) -> None:
    async with join(place.one, f"room/{name}/", place.token) as anna:
        reply = await ask(anna)
        assert [entry["session"] for entry in reply["sessions"]] == [anna.hello["session"]]


async def test_one_that_only_publishes_is_no_member_but_may_ask(
    place: Place, join: Join, name: str
) -> None:
    path = f"room/{name}/"
    async with (
        join(place.one, path, place.token) as anna,
        join(place.one, f"{path}?subscribe=0", None) as near,
        join(place.two, f"{path}?subscribe=0", None) as far,
    ):
        await wait_known(anna, place.two, path)
        for client in (near, far):
            reply = await wait_present(client, {anna.hello["session"]})
            assert reply["count"] == 1
        async with join(place.two, path, None) as other:
            assert await take_hints(anna, 1) == {("join", other.hello["session"], None)}
            await near.receive_nothing(0.2)


async def test_a_stats_topic_has_presence_too(place: Place, join: Join, name: str) -> None:
    path = f"figures/{name}/"
    async with (
        join(place.one, path, place.token) as one,
        join(place.two, path, place.token) as two,
    ):
        await wait_present(one, {one.hello["session"], two.hello["session"]})


async def test_above_100_sessions_nobody_is_told(place: Place, join: Join, name: str) -> None:
    path = f"room/{name}/"
    async with join(place.one, path, place.token) as anna:
        await wait_known(anna, place.two, path)
        async with crowd(place.two, path, MOST_TOLD - 1) as sessions:
            hints = await take_hints(anna, MOST_TOLD - 1)
            assert hints == {("join", session, None) for session in sessions}
            async with join(place.one, path, None) as one_more:
                sessions |= {anna.hello["session"], one_more.hello["session"]}
                await wait_present(anna, sessions)
                await anna.receive_nothing()
            await anna.receive_nothing()
            reply = await wait_present(anna, sessions - {one_more.hello["session"]})
            assert reply["count"] == MOST_TOLD
        hints = await take_hints(anna, MOST_TOLD - 1)
        assert {type for type, _, _ in hints} == {"leave"}


async def test_asking_needs_the_right_to_subscribe(place: Place, join: Join, name: str) -> None:
    async with join(place.one, f"secret/{name}/?subscribe=0", place.token) as anna:
        await anna.send({"type": "presence", "ref": 1})
        error = await anna.receive()
        assert (error["type"], error["ref"], error["code"]) == ("error", 1, "permission_denied")


async def test_where_presence_is_off_nobody_is_told_and_asking_is_not_supported(
    place: Place, join: Join, name: str
) -> None:
    path = f"broadcast/{name}/"
    async with (
        join(place.one, path, place.token) as anna,
        join(place.two, path, place.token) as other,
    ):
        for client in (anna, other):
            await client.send({"type": "presence", "ref": 1})
            error = await client.receive()
            assert (error["type"], error["ref"], error["code"]) == ("error", 1, "not_supported")
        await anna.receive_nothing()


async def test_at_most_1000_sessions_are_listed() -> None:
    from realtime.consumers.presence import build_presence_reply
    from realtime.core.topics import Topic
    from realtime.presence import Member

    members = [Member(f"s{n}", "one", None, n) for n in range(1500)]
    reply = build_presence_reply(Topic("room", "a"), members, ref=None)
    assert reply.count == 1500
    assert [entry.session for entry in reply.sessions] == [f"s{n}" for n in range(1000)]
