"""A stream against servers that do what a good one never does, or hardly ever."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from realtime_client import (
    Ack,
    Config,
    ConnectionEnded,
    ConnectionLost,
    HandshakeRefused,
    State,
    StateChange,
    UnknownOutcome,
    connect,
)

Configure = Callable[..., Config]
TIME = "2026-11-24T07:45:27.643254Z"
LIMITS = {"max_text_bytes": 65536, "max_binary_bytes": 2**24, "max_frame_bytes": 2**20}


class Script:
    """What each connection does, one after the other; the last one for all that follow."""

    def __init__(self, *acts: Callable[["Peer"], Awaitable[None]]) -> None:
        self.acts = list(acts)
        self.peers: list[Peer] = []

    async def __call__(self, connection: ServerConnection) -> None:
        peer = Peer(connection)
        self.peers.append(peer)
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        await act(peer)


class Peer:
    """The server's side of one connection."""

    def __init__(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.connection = connection
        self.path = connection.request.path

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def receive(self) -> Any:
        return json.loads(await self.connection.recv())

    async def say_hello(
        self, *, user: str | None = "anna", lasts: float = 600, ahead: float = 0.0
    ) -> None:
        """The token lasts for so many seconds; the server's clock is so many ahead of ours."""
        now = datetime.now(UTC) + timedelta(seconds=ahead)
        expires = now + timedelta(seconds=lasts)
        await self.send(
            type="hello",
            session="s",
            instance="i",
            user=user,
            expires_at=None if user is None else expires.isoformat(),
            protocol="realtime.v1",
            server_time=now.isoformat(),
            ping_interval=20,
            limits=LIMITS,
        )

    async def greet(self, *, next: int = 1, recovered: bool | None = None, **hello: Any) -> None:
        await self.say_hello(**hello)
        await self.send(
            type="subscribed", topic="t", epoch="e", offset=9, next=next, recovered=recovered
        )

    async def ack(self, message: dict[str, Any], *, epoch: str | None = "e") -> None:
        offset = None if epoch is None else 1
        await self.send(
            type="ack", ref=message["ref"], topic="t", offset=offset, epoch=epoch, duplicate=False
        )

    async def publish(self, offset: int, **more: Any) -> None:
        await self.send(
            type="publication",
            topic="t",
            offset=offset,
            data=offset,
            **{"user": None, "server_time": TIME, **more},
        )

    async def stay(self) -> None:
        await self.connection.wait_closed()


@asynccontextmanager
async def running(script: Script, **options: Any) -> AsyncIterator[str]:
    """The address of a server that plays the script."""
    async with serve(script, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/ws/broadcast/t/"


async def jump(peer: Peer) -> None:
    await peer.greet()
    await peer.publish(1)
    await peer.publish(3)
    await peer.stay()


async def go_on(peer: Peer) -> None:
    await peer.greet(next=2, recovered=True)
    await peer.publish(2)
    await peer.stay()


async def text_between_chunks(peer: Peer) -> None:
    await peer.greet()
    await peer.publish(1)
    await peer.send(
        type="binary",
        topic="t",
        offset=2,
        format="x/y",
        bytes=2,
        chunks=2,
        user=None,
        server_time=TIME,
        ref=None,
    )
    await peer.connection.send(b"x")
    await peer.send(type="pong", ref=None, server_time=TIME)
    await peer.stay()


async def not_json(peer: Peer) -> None:
    await peer.greet()
    await peer.publish(1)
    await peer.connection.send("{")
    await peer.stay()


async def second_hello(peer: Peer) -> None:
    await peer.greet()
    await peer.publish(1)
    await peer.greet()
    await peer.stay()


@pytest.mark.parametrize("act", [jump, text_between_chunks, not_json, second_hello])
async def test_a_server_that_breaks_the_protocol_is_left_and_asked_for_what_comes_after(
    act: Callable[[Peer], Awaitable[None]], config: Configure
) -> None:
    script = Script(act, go_on)
    async with running(script) as url, connect(url, config=config()) as stream:
        assert [(await stream.receive()).data for _ in range(2)] == [1, 2]  # type: ignore[union-attr]
    assert script.peers[1].path.endswith("?epoch=e&offset=1")


async def test_what_does_not_greet_is_given_up_and_tried_again(config: Configure) -> None:
    async def say_nothing(peer: Peer) -> None:
        await peer.stay()

    async def start_in_the_middle(peer: Peer) -> None:
        await peer.publish(1)
        await peer.stay()

    acts = [say_nothing, start_in_the_middle, jump]
    script = Script(*acts)
    quick = config(hello_timeout=0.2)
    async with running(script) as url, connect(url, config=quick) as stream:
        await stream.receive()
        assert len(script.peers) >= len(acts)  # a busy machine may be late with its hello too


async def test_messages_and_fields_of_later_versions_are_ignored(config: Configure) -> None:
    async def later(peer: Peer) -> None:
        await peer.greet()
        await peer.send(type="weather", offset=12)
        await peer.publish(1, mood="sunny")
        await peer.stay()

    async with running(Script(later)) as url, connect(url, config=config()) as stream:
        assert (await stream.receive()).data == 1  # type: ignore[union-attr]


async def test_http_says_when_to_come_back_and_is_heard(config: Configure) -> None:
    answers = [
        Response(503, "Service Unavailable", Headers({"Retry-After": "1"})),
        Response(429, "Too Many Requests", Headers()),
        None,
    ]
    states: list[StateChange] = []

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        return answers.pop(0)

    async with running(Script(jump), process_request=answer) as url:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with connect(url, config=config(), on_state=states.append):
            assert loop.time() - began >= 1
    delays = [change.delay or 0.0 for change in states if change.state is State.WAITING]
    assert 1.0 <= delays[0] <= 1.1
    assert delays[1] <= 0.15


@pytest.mark.parametrize("status", [401, 403, 404, 302])
async def test_other_answers_are_final_and_no_redirect_gets_the_token(
    status: int, config: Configure
) -> None:
    elsewhere = Script(jump)

    async with running(elsewhere) as other:

        def answer(connection: ServerConnection, request: Request) -> Response:
            return Response(status, "No", Headers({"Location": other}))

        async with running(Script(jump), process_request=answer) as url:
            with pytest.raises(HandshakeRefused) as refused:
                async with connect(url, token="secret", config=config()):
                    raise AssertionError("not reached")
    assert refused.value.status == status
    assert elsewhere.peers == []


async def test_what_is_no_websocket_at_all_is_tried_again(config: Configure) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionEnded, match="2 more attempts"):
            async with connect(f"ws://127.0.0.1:{port}/", config=config(max_retries=2)):
                raise AssertionError("not reached")


async def test_an_unavailable_publication_is_repeated_under_its_id(config: Configure) -> None:
    seen: list[dict[str, Any]] = []

    async def refuse_twice(peer: Peer) -> None:
        await peer.greet()
        for _ in range(3):
            message = await peer.receive()
            seen.append(message)
            if len(seen) < 3:
                await peer.send(
                    type="error", ref=message["ref"], code="unavailable", detail="not now"
                )
        await peer.send(
            type="ack",
            ref=message["ref"],
            topic="t",
            offset=1,
            epoch="e",
            duplicate=True,
        )
        await peer.stay()

    async with running(Script(refuse_twice)) as url, connect(url, config=config()) as stream:
        ack = await stream.publish("once")
        assert ack.duplicate
    assert len({message["id"] for message in seen}) == 1


async def test_a_publication_without_an_answer_is_repeated_under_its_id(
    config: Configure,
) -> None:
    seen: list[dict[str, Any]] = []

    async def swallow_one(peer: Peer) -> None:
        await peer.greet()
        seen.append(await peer.receive())
        seen.append(await peer.receive())
        for _ in range(2):  # the first one's answer was only late
            await peer.send(
                type="ack",
                ref=seen[1]["ref"],
                topic="t",
                offset=1,
                epoch="e",
                duplicate=True,
            )
        await peer.stay()

    quick = config(repeat_after=0.1)
    async with running(Script(swallow_one)) as url, connect(url, config=quick) as stream:
        assert (await stream.publish("once")).offset == 1
    assert seen[0] == seen[1]


async def test_an_anonymous_unavailable_publication_has_an_unknown_outcome(
    config: Configure,
) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.greet(user=None)
        message = await peer.receive()
        assert "id" not in message
        await peer.send(type="error", ref=message["ref"], code="unavailable", detail="not now")
        await peer.stay()

    async with running(Script(refuse)) as url, connect(url, config=config()) as stream:
        with pytest.raises(UnknownOutcome, match="not now"):
            await stream.publish("once")


async def test_a_question_is_asked_again_where_the_connection_breaks_and_a_ping_is_not(
    config: Configure,
) -> None:
    async def break_off(peer: Peer) -> None:
        await peer.greet()
        await peer.receive()
        peer.connection.transport.abort()

    async def answer(peer: Peer) -> None:
        await peer.greet(next=1, recovered=True)
        message = await peer.receive()
        await peer.send(
            type="history",
            ref=message["ref"],
            topic="t",
            epoch="e",
            top=0,
            publications=[],
            complete=True,
        )
        await peer.stay()

    script = Script(break_off, break_off, answer)
    async with running(script) as url, connect(url, config=config()) as stream:
        with pytest.raises(ConnectionLost):
            await stream.ping()
        assert (await stream.history()).complete


async def test_closing_while_a_publication_is_unconfirmed_says_so(config: Configure) -> None:
    got = asyncio.Event()

    async def swallow(peer: Peer) -> None:
        await peer.greet()
        assert {(await peer.receive())["type"] for _ in range(2)} == {"publish", "history"}
        got.set()
        await peer.stay()

    async with running(Script(swallow)) as url, connect(url, config=config()) as stream:
        publishing = asyncio.create_task(stream.publish(1))
        asking = asyncio.create_task(stream.history())
        async with asyncio.timeout(30):
            await got.wait()
        await stream.close()
        with pytest.raises(UnknownOutcome, match="the stream ended"):
            await publishing
        with pytest.raises(ConnectionEnded):
            await asking


async def test_a_token_that_cannot_be_renewed_at_once_is_asked_for_again(
    config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime_client.session.SHORTEST_RENEWAL", 0.1)
    answers = ["first", OSError("no route"), "refused", "good"]
    got: list[str] = []

    async def get_token() -> str:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return str(answer)

    async def expire_soon(peer: Peer) -> None:
        await peer.greet(lasts=0.4)
        while True:
            message = await peer.receive()
            got.append(message["token"])
            if message["token"] == "refused":
                await peer.send(type="error", ref=message["ref"], code="invalid_token", detail="no")
            else:
                expires = (datetime.now(UTC) + timedelta(seconds=600)).isoformat()
                await peer.send(type="refreshed", ref=message["ref"], expires_at=expires)

    script = Script(expire_soon)
    async with running(script) as url, connect(url, token=get_token, config=config()) as stream:
        async with asyncio.timeout(30):
            while "good" not in got:
                await asyncio.sleep(0.02)
        assert stream.state is State.LIVE
    assert got == ["refused", "good"]
    assert len(script.peers) == 1


async def answer_refreshes(peer: Peer, *, ahead: float = 0.0) -> None:
    """Each new token lasts for ten minutes."""
    while True:
        message = await peer.receive()
        expires = datetime.now(UTC) + timedelta(seconds=600 + ahead)
        await peer.send(type="refreshed", ref=message["ref"], expires_at=expires.isoformat())


async def test_a_failed_renewal_is_tried_again_before_the_token_ends(
    config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after as long a time as the first one took: the session would have ended."""
    monkeypatch.setattr("realtime_client.session.SHORTEST_RENEWAL", 0.1)
    asked: list[float] = []

    async def get_token() -> str:
        asked.append(asyncio.get_running_loop().time())
        if len(asked) == 2:
            raise OSError("no route")
        return "token"

    async def last_for_three_seconds(peer: Peer) -> None:
        await peer.greet(lasts=3)
        await answer_refreshes(peer)

    steady = config(chance=lambda: 0.0)
    script = Script(last_for_three_seconds)
    async with running(script) as url, connect(url, token=get_token, config=steady):
        async with asyncio.timeout(30):
            while len(asked) < 3:
                await asyncio.sleep(0.02)
    assert asked[2] - asked[1] < asked[1] - asked[0] - 1


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
async def test_a_clock_that_is_wrong_by_an_hour_renews_no_token_too_often(
    ahead: float, config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime_client.session.SHORTEST_RENEWAL", 0.05)
    asked: list[str] = []

    async def get_token() -> str:
        asked.append("token")
        return "token"

    async def expire_soon(peer: Peer) -> None:
        await peer.greet(lasts=0.2, ahead=ahead)
        await answer_refreshes(peer, ahead=ahead)

    script = Script(expire_soon)
    async with running(script) as url, connect(url, token=get_token, config=config()):
        await asyncio.sleep(0.6)
    assert len(asked) == 2


class KeepingToken:
    """Gives a token again until it is told that it is no good."""

    def __init__(self) -> None:
        self.number = 1
        self.discarded: list[str] = []

    def __call__(self) -> str:
        return f"token-{self.number}"

    def discard(self, token: str) -> None:
        self.discarded.append(token)
        self.number += 1


async def expire(peer: Peer) -> None:
    await peer.connection.close(4001, "expired")


async def test_an_ended_credential_is_tried_once_more_after_each_session(
    config: Configure,
) -> None:
    async def let_in(peer: Peer) -> None:
        await peer.greet()
        await expire(peer)

    script = Script(let_in, let_in, expire)
    async with asyncio.timeout(30), running(script) as url:
        with pytest.raises(ConnectionEnded) as ended:
            async with connect(url, token="fixed", config=config()) as stream:
                await stream.receive()
    assert ended.value.code == 4001
    assert len(script.peers) == 3


async def test_a_token_function_is_told_which_token_had_expired(config: Configure) -> None:
    shown: list[str] = []

    async def expire(peer: Peer) -> None:
        shown.append(peer.connection.request.headers["Authorization"])  # type: ignore[union-attr]
        await peer.connection.close(4001, "expired")

    async def break_off(peer: Peer) -> None:
        await peer.greet()
        await peer.publish(1)
        peer.connection.transport.abort()

    token = KeepingToken()
    script = Script(expire, break_off, go_on)
    async with (
        asyncio.timeout(30),
        running(script) as url,
        connect(url, token=token, config=config()) as stream,
    ):
        assert [(await stream.receive()).data for _ in range(2)] == [1, 2]  # type: ignore[union-attr]
    assert shown == ["Bearer token-1"]
    assert token.discarded == ["token-1"]  # and not for the connection that broke


async def test_a_token_function_is_told_which_token_a_session_refused(
    config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime_client.session.SHORTEST_RENEWAL", 0.1)
    got: list[str] = []

    async def refuse_one(peer: Peer) -> None:
        await peer.greet(lasts=0.4)
        message = await peer.receive()
        got.append(message["token"])
        await peer.send(type="error", ref=message["ref"], code="invalid_token", detail="no")
        got.append((await peer.receive())["token"])
        await peer.publish(1)
        await peer.stay()

    token = KeepingToken()
    script = Script(refuse_one)
    async with (
        asyncio.timeout(30),
        running(script) as url,
        connect(url, token=token, config=config()) as stream,
    ):
        await stream.receive()
    assert got == ["token-1", "token-2"]


# Publishing without a subscription, where only an ack tells whether the topic has a history


async def accept_all(peer: Peer) -> None:
    await peer.say_hello()
    while True:
        await peer.ack(await peer.receive())


async def test_without_a_subscription_what_has_no_answer_is_repeated_until_told_otherwise(
    config: Configure,
) -> None:
    ids: list[str] = []

    async def refuse_and_break(peer: Peer) -> None:
        await peer.say_hello()
        message = await peer.receive()
        ids.append(message["id"])
        await peer.send(type="error", ref=message["ref"], code="unavailable", detail="not now")
        ids.append((await peer.receive())["id"])
        await peer.connection.close(1011)

    async def accept(peer: Peer) -> None:
        await peer.say_hello()
        message = await peer.receive()
        ids.append(message["id"])
        await peer.ack(message)
        await peer.stay()

    async with (
        asyncio.timeout(30),
        running(Script(refuse_and_break, accept)) as url,
        connect(url, token="t", subscribe=False, config=config()) as stream,
    ):
        assert (await stream.publish("first", id="mine")).offset == 1
    assert ids == ["mine"] * 3


@pytest.mark.parametrize("epoch", ["e", None])
async def test_without_a_subscription_an_ack_tells_whether_to_repeat(
    epoch: str | None, config: Configure
) -> None:
    """Also for what was sent before it came."""

    async def ack_one_of_two(peer: Peer) -> None:
        await peer.say_hello()
        messages = [await peer.receive() for _ in range(2)]
        await peer.ack(messages[0], epoch=epoch)
        await peer.connection.close(1011)

    script = Script(ack_one_of_two, accept_all)
    async with (
        asyncio.timeout(30),
        running(script) as url,
        connect(url, token="t", subscribe=False, config=config()) as stream,
    ):
        outcomes = await asyncio.gather(
            stream.publish(1), stream.publish(2), return_exceptions=True
        )
    assert isinstance(outcomes[0], Ack)
    assert isinstance(outcomes[1], UnknownOutcome if epoch is None else Ack)
