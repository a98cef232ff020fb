"""A stream lives through what happens to servers and tokens, and says what it could not save."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import pytest

from realtime_client import (
    Config,
    ConnectionEnded,
    Gap,
    Publication,
    QueueFull,
    SignIn,
    State,
    StateChange,
    Stream,
    UnknownOutcome,
    connect,
)
from tests.breaking_proxy import breaking_proxy
from tests.clients.conftest import sign_again
from tests.servers import Project, RedisServer, Server

PASSWORD = "correct horse battery staple"
Configure = Callable[..., Config]
Restart = Callable[[Server], Server]
Url = Callable[[str], str]


class Heard:
    """What a stream brought: `values` of the publications, `gaps`, and the states it went through.

    `states` also has the close codes that it was told.
    """

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.gaps: list[Gap] = []
        self.states: list[StateChange] = []

    async def read(self, stream: Stream) -> None:
        async for message in stream:
            if isinstance(message, Publication):
                self.values.append(message.data)
            elif isinstance(message, Gap):
                self.gaps.append(message)

    @property
    def codes(self) -> list[int | None]:
        return [change.code for change in self.states if change.state is State.WAITING]

    async def wait(self, condition: Callable[["Heard"], bool], timeout: float = 60.0) -> None:
        async with asyncio.timeout(timeout):
            while not condition(self):
                await asyncio.sleep(0.02)


@asynccontextmanager
async def hearing(url: str, **options: Any) -> AsyncIterator[tuple[Stream, Heard]]:
    """A stream that is read all the time."""
    heard = Heard()
    async with connect(url, on_state=heard.states.append, **options) as stream:
        task = asyncio.create_task(heard.read(stream))
        yield stream, heard
        assert not task.done()
        await stream.close()
        await task


@pytest.fixture
def redis_project(client_project: Project, redis: RedisServer) -> Project:
    """A project whose history outlives the server."""
    return client_project.with_environment(REDIS_URL=redis.url)


async def test_a_server_that_is_restarted_or_killed_costs_nothing(
    redis_project: Project,
    launch: Callable[..., Server],
    restart: Restart,
    client_token: str,
    config: Configure,
) -> None:
    """Publishing goes on all the while, from the same stream."""
    server = launch(redis_project, "serve")
    address = f"{server.ws}/ws/broadcast/restart/"
    async with hearing(address, token=client_token, config=config()) as (stream, heard):
        published = 0
        for kill, expected in ((False, 1012), (True, 1006)):
            heard.states.clear()
            publishing = asyncio.create_task(publish_steadily(stream, published, 50))
            published += 50
            await asyncio.sleep(0.1)
            await asyncio.to_thread(server.stop, kill=kill)
            server = await asyncio.to_thread(restart, server)
            await publishing
            await heard.wait(lambda heard: len(heard.values) >= published)  # noqa: B023
            first = next(change for change in heard.states if change.state is State.WAITING)
            assert first.code == expected
            if not kill:
                assert first.reason.startswith("retry_after=")
                assert first.delay == float(first.reason.split("=")[1])
        assert heard.values == list(range(published))
        assert heard.gaps == []


async def publish_steadily(stream: Stream, first: int, count: int) -> None:
    """Publish a row of numbers, each after the ack of the one before."""
    for number in range(first, first + count):
        ack = await stream.publish(number)
        assert ack.offset == number + 1
        await asyncio.sleep(0.01)


async def test_a_restart_without_redis_is_a_gap_of_unknown_size(
    client_project: Project,
    launch: Callable[..., Server],
    restart: Restart,
    client_token: str,
    config: Configure,
) -> None:
    server = launch(client_project, "serve")
    address = f"{server.ws}/ws/broadcast/memory/"
    async with hearing(address, token=client_token, config=config()) as (stream, heard):
        await stream.publish("before")
        await heard.wait(lambda heard: heard.values == ["before"])
        await asyncio.to_thread(server.stop, kill=True)
        await asyncio.to_thread(restart, server)
        await stream.publish("after")
        await heard.wait(lambda heard: heard.values == ["before", "after"])
        [gap] = heard.gaps
        assert (gap.after, gap.lost, gap.reason) == (1, None, "history_lost")


async def test_redis_away_and_back_empty_is_told_and_publishing_goes_on(
    redis_project: Project,
    launch: Callable[..., Server],
    redis: RedisServer,
    client_token: str,
    config: Configure,
) -> None:
    """What is unavailable meanwhile is repeated under its id, and confirmed in the end."""
    server = launch(redis_project, "serve")
    address = f"{server.ws}/ws/broadcast/redis/"
    async with hearing(address, token=client_token, config=config()) as (stream, heard):
        await stream.publish("before")
        await heard.wait(lambda heard: heard.values == ["before"])
        await asyncio.to_thread(redis.kill)
        publishing = asyncio.create_task(stream.publish("meanwhile"))
        await asyncio.sleep(0.5)
        assert not publishing.done()
        await asyncio.to_thread(redis.restart_empty)
        async with asyncio.timeout(60):
            await publishing
        await heard.wait(lambda heard: bool(heard.gaps) and "meanwhile" in heard.values)
        assert heard.values == ["before", "meanwhile"]
        assert [gap.is_new_epoch for gap in heard.gaps] == [True]


async def test_connections_that_are_cut_under_publications_lose_and_repeat_nothing(
    url: Url, client_server: Server, client_token: str, config: Configure
) -> None:
    address = url("broadcast")
    async with breaking_proxy(client_server.port) as proxy:
        address = address.replace(client_server.ws, proxy.ws)
        async with hearing(address, token=client_token, config=config()) as (stream, heard):
            for start in range(0, 300, 100):
                await heard.wait(lambda _: stream.state is State.LIVE and proxy.open == 1)
                batch = [asyncio.create_task(stream.publish(n)) for n in range(start, start + 100)]
                await asyncio.sleep(0.003)
                proxy.cut()
                await asyncio.gather(*batch)
            await heard.wait(lambda heard: len(heard.values) >= 300)
            assert sorted(heard.values) == list(range(300))
            assert proxy.cuts == 3


async def test_while_offline_so_many_publications_are_queued_and_the_next_waits_for_room(
    url: Url,
    client_server: Server,
    client_token: str,
    config: Configure,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with breaking_proxy(client_server.port) as proxy:
        address = url("broadcast").replace(client_server.ws, proxy.ws)
        small = config(max_outgoing=3)
        async with hearing(address, token=client_token, config=small) as (stream, heard):
            target, proxy.target = proxy.target, 1  # where nobody listens
            proxy.cut()
            await heard.wait(lambda heard: State.WAITING in [c.state for c in heard.states])
            waiting = [asyncio.create_task(stream.publish(n)) for n in range(6)]
            await asyncio.sleep(0)
            cancelled = waiting.pop(2)
            cancelled.cancel()
            assert caplog.text.count("publish() waits for room") == 1
            proxy.target = target
            await asyncio.gather(*waiting)
            await heard.wait(lambda heard: len(heard.values) == 5)
            await asyncio.sleep(0.1)
            assert heard.values == [0, 1, 3, 4, 5]


async def test_where_no_room_comes_in_time_a_publication_is_refused(
    url: Url, client_server: Server, client_token: str, config: Configure
) -> None:
    async with breaking_proxy(client_server.port) as proxy:
        address = url("broadcast").replace(client_server.ws, proxy.ws)
        small = config(max_outgoing=1, queue_timeout=0.2)
        async with hearing(address, token=client_token, config=small) as (stream, heard):
            target, proxy.target = proxy.target, 1
            proxy.cut()
            await heard.wait(lambda heard: State.WAITING in [c.state for c in heard.states])
            first = asyncio.create_task(stream.publish(0))
            await asyncio.sleep(0)
            with pytest.raises(QueueFull, match=r"waited for 0\.2 s.*max_outgoing"):
                await stream.publish(1)
            proxy.target = target
            await first
            await stream.publish(2)
            await heard.wait(lambda heard: len(heard.values) == 2)
            assert heard.values == [0, 2]


async def test_an_anonymous_publication_is_never_sent_twice(
    url: Url, client_server: Server, config: Configure
) -> None:
    async with breaking_proxy(client_server.port) as proxy:
        address = url("open").replace(client_server.ws, proxy.ws)
        async with hearing(address, config=config()) as (stream, heard):
            outcome = asyncio.create_task(stream.publish("once"))
            while not stream._supervisor.publisher._ledger._sent:
                await asyncio.sleep(0)
            proxy.cut()
            with pytest.raises(UnknownOutcome) as unknown:
                await outcome
            assert "without an id" in str(unknown.value)
            await stream.publish("after")
            await heard.wait(lambda heard: "after" in heard.values)
            assert heard.values.count("once") <= 1


async def test_what_is_not_confirmed_in_time_is_an_unknown_outcome(
    url: Url, client_server: Server, client_token: str, config: Configure
) -> None:
    async with breaking_proxy(client_server.port) as proxy:
        address = url("broadcast").replace(client_server.ws, proxy.ws)
        short = config(publish_lifetime=0.4)
        async with hearing(address, token=client_token, config=short) as (stream, _):
            outcome = asyncio.create_task(stream.publish("when?", id="mine"))
            while not stream._supervisor.publisher._ledger._sent:
                await asyncio.sleep(0)
            proxy.target = 1
            proxy.cut()
            with pytest.raises(UnknownOutcome) as unknown:
                await outcome
            assert unknown.value.id == "mine"


async def test_a_peer_that_fell_silent_is_given_up(
    url: Url, client_server: Server, client_token: str, config: Configure
) -> None:
    """It has 3 s to answer a ping, which a busy machine may need."""
    quick = config(heartbeat=0.2, pong_timeout=3.0)
    async with breaking_proxy(client_server.port) as proxy:
        address = url("broadcast").replace(client_server.ws, proxy.ws)
        async with hearing(address, token=client_token, config=quick) as (stream, heard):
            await asyncio.sleep(0.6)
            assert heard.codes == []  # it answers its pings
            with stalled(client_server):
                await heard.wait(lambda heard: heard.codes[:1] == [1006])
            await heard.wait(lambda _: stream.state is State.LIVE)


@contextlib.contextmanager
def stalled(server: Server) -> Iterator[None]:
    """The server's process stopped, for the time of the block."""
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


# Tokens


@pytest.fixture
def sign(client_project: Project, client_token: str) -> Callable[[float], str]:
    """A token of `anna` that ends so many seconds from now."""
    return lambda seconds: sign_again(client_project, client_token, seconds)


async def test_a_token_is_renewed_before_it_ends_and_nothing_is_noticed(
    url: Url, sign: Callable[[float], str]
) -> None:
    asked = []

    async def get_token() -> str:
        asked.append(time.time())
        return sign(8 if len(asked) == 1 else 600)

    async with hearing(url("broadcast"), token=get_token) as (stream, heard):
        await heard.wait(lambda _: len(asked) == 2)
        await asyncio.sleep(asked[0] + 9.2 - time.time())  # now it is over, and its grace
        assert heard.codes == []
        assert stream.state is State.LIVE
        assert len(asked) == 2


async def test_a_fixed_token_that_has_ended_is_the_end_when_it_is_refused_once_more(
    url: Url, sign: Callable[[float], str], config: Configure
) -> None:
    changes: list[StateChange] = []
    stream = connect(url("broadcast"), token=sign(-60), on_state=changes.append, config=config())
    with pytest.raises(ConnectionEnded) as ended:
        await stream.open()
    assert ended.value.code == 4001
    assert [change.state for change in changes] == [State.WAITING, State.CONNECTING, State.CLOSED]


async def test_an_ended_token_from_a_function_is_replaced_by_the_next(
    url: Url, sign: Callable[[float], str], config: Configure
) -> None:
    tokens = iter([sign(-60), sign(600)])
    async with hearing(url("broadcast"), token=lambda: next(tokens), config=config()) as (_, heard):
        assert heard.codes == [4001]


async def test_a_token_function_that_cannot_reach_its_server_is_asked_again(
    url: Url, client_token: str, config: Configure
) -> None:
    answers = iter([OSError("no route"), client_token])

    def get_token() -> str:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    async with hearing(url("broadcast"), token=get_token, config=config()) as (stream, heard):
        assert heard.codes == [None]
        assert stream.state is State.LIVE


@pytest.mark.parametrize("answer", [None, 7])
async def test_a_token_function_that_gives_no_string_is_a_mistake_that_is_raised(
    url: Url, answer: Any
) -> None:
    with pytest.raises(TypeError, match="has to give a string"):
        async with connect(url("broadcast"), token=lambda: answer):
            raise AssertionError("not reached")


@pytest.fixture(scope="session")
def people(client_project: Project) -> list[str]:
    """Users with a password: some to revoke, some to deactivate."""
    names = ["ruth", "dora"]
    client_project.manage(
        "shell",
        "--verbosity",
        "0",
        "-c",
        "from accounts.models import User\n"
        f"for name in {names!r}:\n"
        f"    user = User(username=name); user.set_password({PASSWORD!r}); user.save()",
    )
    return names


async def test_a_sign_in_that_is_revoked_is_the_end(
    url: Url, client_server: Server, people: list[str]
) -> None:
    sign_in = SignIn(client_server.ws, "ruth", PASSWORD)
    async with connect(url("broadcast"), token=sign_in) as stream:
        await stream.publish("signed in")
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.post(
                f"{client_server.http}/api/token/revoke/", json={"refresh": sign_in._refresh}
            )
        assert answer.status_code == 204
        await stream.receive()
        with pytest.raises(ConnectionEnded) as ended:
            await asyncio.wait_for(stream.receive(), 30)
        assert ended.value.code == 4505
        with pytest.raises(ConnectionEnded):
            await stream.publish("too late")


def test_a_sign_in_renews_its_token_and_a_wrong_password_is_final(
    client_server: Server, people: list[str]
) -> None:
    sign_in = SignIn(f"{client_server.ws}/ws/echo/", "dora", PASSWORD)
    first = sign_in()
    assert sign_in() == first
    sign_in.discard(first)
    refreshed = sign_in()
    claims = [jwt.decode(t, options={"verify_signature": False}) for t in (first, refreshed)]
    assert claims[0]["sid"] == claims[1]["sid"]
    with pytest.raises(ConnectionEnded, match="refused"):
        SignIn(client_server.http, "dora", "wrong")()
    with pytest.raises(OSError, match="refused"):
        SignIn("ws://127.0.0.1:1", "dora", PASSWORD)()


async def test_a_password_that_the_server_refuses_ends_the_stream_at_once(
    url: Url, people: list[str]
) -> None:
    address = url("broadcast")
    with pytest.raises(ConnectionEnded, match="refused"):
        async with connect(address, token=SignIn(address, "dora", "wrong")):
            raise AssertionError("not reached")


def test_tokens_are_never_shown(client_token: str) -> None:
    assert client_token not in json.dumps(repr(SignIn("ws://a", "dora", PASSWORD)))
