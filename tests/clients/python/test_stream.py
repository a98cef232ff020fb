"""A stream against the real server: what comes, what goes, what is asked."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from realtime_client import (
    Ack,
    Binary,
    Config,
    ConnectionEnded,
    Gap,
    HandshakeRefused,
    MessageTooBig,
    Position,
    Publication,
    RequestRefused,
    RetriesExhausted,
    ServerError,
    State,
    StateChange,
    Stats,
    Stream,
    UnknownOutcome,
    connect,
)
from tests.servers import Server

Url = Callable[[str], str]


async def take(stream: Stream, count: int, timeout: float = 30.0) -> list[Any]:
    """The next messages of a stream."""
    async with asyncio.timeout(timeout):
        return [await stream.receive() for _ in range(count)]


async def test_what_is_published_arrives_in_order_and_moves_the_position(
    url: Url, client_token: str
) -> None:
    async with connect(url("broadcast"), token=client_token) as stream:
        assert stream.state is State.LIVE
        assert stream.hello is not None
        assert stream.hello.user == "anna"
        start = stream.position
        assert start is not None
        assert start.offset == 0
        acks = await asyncio.gather(*(stream.publish({"n": n}) for n in range(200)))
        assert [ack.offset for ack in acks] == list(range(1, 201))
        seen: list[Publication] = await take(stream, 200)
        assert [message.data for message in seen] == [{"n": n} for n in range(200)]
        assert stream.position == Position(start.epoch, 200) == seen[-1].position
        assert seen[0].user == "anna"


async def test_iterating_ends_where_the_program_closes_the_stream(
    url: Url, client_token: str
) -> None:
    async with connect(url("broadcast"), token=client_token) as stream:
        await stream.publish(1)
        async for message in stream:
            assert isinstance(message, Publication)
            await stream.close()
        assert stream.state is State.CLOSED
        with pytest.raises(ConnectionEnded):
            await stream.publish(2)


async def test_a_stored_position_goes_on_in_another_stream(url: Url, client_token: str) -> None:
    async with connect(url("broadcast"), token=client_token) as stream:
        for n in range(3):
            await stream.publish(n)
        await take(stream, 1)
        position = stream.position
    assert position is not None
    assert position.offset == 1
    async with connect(url("broadcast"), token=client_token, position=position) as stream:
        assert [message.data for message in await take(stream, 2)] == [1, 2]
        assert stream.subscribed is not None
        assert stream.subscribed.recovered is True


async def test_the_latest_of_the_history_come_first_where_asked(
    url: Url, client_token: str
) -> None:
    async with connect(url("broadcast"), token=client_token, subscribe=False) as stream:
        assert stream.subscribed is None
        for n in range(3):
            await stream.publish(n)
    async with connect(url("broadcast"), token=client_token, history=2) as stream:
        assert [message.data for message in await take(stream, 2)] == [1, 2]


async def test_what_is_gone_is_a_gap_among_the_messages(url: Url, client_token: str) -> None:
    """The namespace keeps five."""
    async with connect(url("short"), token=client_token) as stream:
        position = stream.position
        for n in range(8):
            await stream.publish(n)
    async with connect(url("short"), token=client_token, position=position) as stream:
        gap, *rest = await take(stream, 6)
        assert isinstance(gap, Gap)
        assert (gap.after, gap.next, gap.lost, gap.reason) == (0, 4, 3, "history_trimmed")
        assert [message.data for message in rest] == [3, 4, 5, 6, 7]


async def test_a_position_of_a_life_that_is_over_is_a_gap_of_unknown_size(
    url: Url, client_token: str
) -> None:
    position = Position("0123456789ab", 7)
    async with connect(url("broadcast"), token=client_token, position=position) as stream:
        [gap] = await take(stream, 1)
        assert (gap.after, gap.is_new_epoch, gap.lost) == (7, True, None)


async def test_an_id_is_published_once(url: Url, client_token: str) -> None:
    async with connect(url("broadcast"), token=client_token) as stream:
        first = await stream.publish("a", id="only-once")
        second = await stream.publish("b", id="only-once")
        assert (first.duplicate, second.duplicate) == (False, True)
        assert first.offset == second.offset


async def test_arrays_arrive_as_they_left_in_as_many_chunks_as_needed(
    url: Url, client_token: str
) -> None:
    arrays = [np.arange(6.0).reshape(2, 3), np.zeros((1200, 1200)), np.array(3, dtype="int8")]
    async with connect(url("arrays"), token=client_token) as stream:
        for array in arrays:
            await stream.publish_array(array)
        for array, message in zip(arrays, await take(stream, 3), strict=True):
            assert isinstance(message, Binary)
            assert message.array.dtype == array.dtype
            assert np.array_equal(message.array, array)


async def test_a_blob_keeps_its_media_type(url: Url, client_token: str) -> None:
    async with connect(url("blobs"), token=client_token) as stream:
        await stream.publish_bytes(b"\x89PNG", format="image/png")
        await stream.publish_bytes(b"")
        picture, nothing = await take(stream, 2)
        assert (picture.format, picture.data) == ("image/png", b"\x89PNG")
        assert (nothing.format, nothing.data) == ("application/octet-stream", b"")


async def test_arrays_are_made_on_request_one_after_the_other(url: Url, client_token: str) -> None:
    async with connect(url("arrays"), token=client_token, subscribe=False) as stream:
        arrays = await asyncio.gather(*(stream.request((2, n)) for n in range(1, 6)))
        assert [array.shape for array in arrays] == [(2, n) for n in range(1, 6)]
        assert all(((array >= 0) & (array < 1)).all() for array in arrays)
        zeros = await stream.request((3,), dtype="int16", source="zeros")
        assert zeros.tolist() == [0, 0, 0]
        with pytest.raises(RequestRefused) as refused:
            await stream.request((3,), source="nowhere")
        assert refused.value.code == "not_found"


async def test_a_request_that_was_given_up_does_not_disturb_the_next(
    url: Url, client_token: str
) -> None:
    async with connect(url("arrays"), token=client_token, subscribe=False) as stream:
        with pytest.raises(TimeoutError):
            await stream.request((1000, 1000), timeout=0.001)
        assert (await stream.request((2,))).shape == (2,)


async def test_samples_become_typed_statistics(url: Url, client_token: str) -> None:
    fields = ("median", "nan_count", "sum")
    async with connect(url("stats"), token=client_token, window=5, fields=fields) as stream:
        await stream.publish_samples([3.2, None, float("nan"), 1, 3])
        [stats] = await take(stream, 1)
        assert isinstance(stats, Stats)
        assert (stats.count, stats.min, stats.max, stats.nan_count) == (3, 1.0, 3.2, 2)
        assert (stats.value, stats.median) == (3.0, 3.0)
        assert stats.sum == pytest.approx(7.2)
        assert stats.p99 is None


async def test_many_samples_go_in_as_few_publications_as_fit(url: Url, client_token: str) -> None:
    async with connect(url("stats"), token=client_token, subscribe=False) as stream:
        values = np.linspace(0, 1, 150_000)
        acks = await stream.publish_samples(values)
        assert [ack.offset for ack in acks] == [1, 2]
        acks = await stream.publish_samples(values[:6000].tolist(), range(6000))
        assert len(acks) == 5
        page = await stream.history(after=2)
        assert sum(len(item.data["values"]) for item in page.publications) == 6000


async def test_the_past_can_be_read_page_by_page(url: Url, client_token: str) -> None:
    async with connect(url("broadcast"), token=client_token, subscribe=False) as stream:
        for n in range(5):
            await stream.publish(n)
        page = await stream.history(after=1, limit=2)
        assert ([item.data for item in page.publications], page.top, page.complete) == (
            [1, 2],
            5,
            True,
        )
        page = await stream.history(after=4, epoch=page.epoch)
        assert [item.data for item in page.publications] == [4]


async def test_a_ping_measures_the_round_trip(url: Url, client_token: str) -> None:
    async with connect(url("broadcast"), token=client_token) as stream:
        assert await stream.ping() > 0


async def test_what_the_server_refuses_is_an_error_of_whoever_asked(
    url: Url, client_token: str
) -> None:
    async with connect(url("notices"), token=client_token) as stream:
        with pytest.raises(RequestRefused) as refused:
            await stream.publish(1)
        assert refused.value.code == "permission_denied"
        with pytest.raises(RequestRefused) as refused:
            await stream.presence()
        assert refused.value.code == "not_supported"
        assert stream.state is State.LIVE


async def test_what_is_too_long_is_refused_before_it_is_sent(url: Url, client_token: str) -> None:
    async with connect(url("broadcast"), token=client_token) as stream:
        with pytest.raises(MessageTooBig):
            await stream.publish("x" * 65536)
        with pytest.raises(ValueError, match="not JSON compliant"):
            await stream.publish(float("nan"))
        assert isinstance(await stream.publish("é" * 30000), Ack)
    async with connect(url("blobs"), token=client_token) as stream:
        with pytest.raises(MessageTooBig):
            await stream.publish_bytes(bytes(17 * 1024 * 1024))


async def test_anonymous_sessions_publish_without_an_id(url: Url) -> None:
    async with connect(url("open")) as stream:
        assert stream.hello is not None
        assert stream.hello.user is None
        assert (await stream.publish("hi")).offset == 1
        with pytest.raises(RequestRefused) as refused:
            await stream.publish("hi", id="mine")
        assert refused.value.code == "permission_denied"


async def test_a_topic_without_history_has_no_position(url: Url, client_token: str) -> None:
    async with connect(url("fleeting"), token=client_token) as stream:
        assert stream.position is None
        ack = await stream.publish(1)
        assert (ack.offset, ack.epoch) == (None, None)
        [message] = await take(stream, 1)
        assert (message.data, message.position) == (1, None)


@pytest.mark.parametrize(
    ("path", "token", "code", "says"),
    [
        ("broadcast/a/", "nonsense", 4502, "invalid token"),
        ("broadcast/a/", None, 4501, "authentication required"),
        ("nowhere/a/", None, 4504, "unknown topic"),
        ("secret/a/", "good", 4503, "permission denied"),
        ("stats/a/?window=soon", "good", 4500, "window"),
    ],
)
async def test_a_final_code_is_raised_with_its_reason(
    client_server: Server, client_token: str, path: str, token: str | None, code: int, says: str
) -> None:
    states: list[StateChange] = []
    with pytest.raises(ConnectionEnded, match=says) as ended:
        async with connect(
            f"{client_server.ws}/ws/{path}",
            token=client_token if token == "good" else token,
            on_state=states.append,
        ):
            raise AssertionError("not reached")
    assert ended.value.code == code
    assert [change.state for change in states] == [State.CLOSED]


async def test_an_http_refusal_is_final(client_server: Server, client_token: str) -> None:
    with pytest.raises(HandshakeRefused) as refused:
        async with connect(
            f"{client_server.ws}/ws/broadcast/a/",
            token=client_token,
            config=Config(headers={"Origin": "https://elsewhere.example"}),
        ):
            raise AssertionError("not reached")
    assert refused.value.status == 403


async def test_where_nobody_listens_it_gives_up_after_max_retries(
    config: Callable[..., Config],
) -> None:
    states: list[StateChange] = []
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # so that nobody else listens there meanwhile
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/ws/broadcast/a/"
        with pytest.raises(RetriesExhausted):
            async with connect(url, on_state=states.append, config=config(max_retries=2)):
                raise AssertionError("not reached")
    names = [change.state.name for change in states]
    assert names == ["WAITING", "CONNECTING"] * 2 + ["CLOSED"]


async def test_a_handler_that_publishes_never_waits_for_itself(
    url: Url, client_token: str, config: Callable[..., Config]
) -> None:
    """More waits to be read than the inbox holds, and each reader waits for an ack behind it."""
    total = 200
    small = config(max_incoming=8)
    states: list[StateChange] = []
    async with (
        connect(url("broadcast"), token=client_token, subscribe=False) as source,
        connect(
            url("broadcast"), token=client_token, config=small, on_state=states.append
        ) as stream,
    ):
        feeding = asyncio.gather(*(source.publish(n) for n in range(total)))
        heard = []
        async with asyncio.timeout(60):
            async for message in stream:
                assert isinstance(message, Publication)
                if message.data == "echo":
                    continue
                heard.append(message.data)
                await stream.publish("echo")
                if len(heard) == total:
                    break
        await feeding
        assert heard == list(range(total))
        assert State.WAITING in [change.state for change in states]  # it came back for some


async def test_a_stream_that_nobody_reads_can_publish_as_much_as_it_likes(
    url: Url, client_token: str, config: Callable[..., Config]
) -> None:
    small = config(max_incoming=8)
    async with connect(url("broadcast"), token=client_token, config=small) as stream:
        acks = [await stream.publish(n) for n in range(200)]
        assert [ack.offset for ack in acks] == list(range(1, 201))
        assert [message.data for message in await take(stream, 200)] == list(range(200))


async def test_more_publishes_than_may_wait_take_turns_while_the_connection_stands(
    url: Url, client_token: str, config: Callable[..., Config]
) -> None:
    small = config(max_outgoing=5)
    async with connect(
        url("broadcast"), token=client_token, subscribe=False, config=small
    ) as stream:
        acks = await asyncio.gather(*(stream.publish(n) for n in range(300)))
        assert [ack.offset for ack in acks] == list(range(1, 301))


async def test_a_state_callback_that_fails_ends_the_stream_and_is_not_hidden(
    url: Url, client_token: str
) -> None:
    def fail(change: StateChange) -> None:
        if change.state is State.LIVE:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        async with connect(url("broadcast"), token=client_token, on_state=fail):
            raise AssertionError("not reached")


async def test_a_full_inbox_stops_receiving_until_it_is_read(
    url: Url, client_token: str, config: Callable[..., Config]
) -> None:
    small = config(max_incoming=8)
    async with (
        connect(url("broadcast"), token=client_token, subscribe=False) as source,
        connect(url("broadcast"), token=client_token, config=small) as stream,
    ):
        await asyncio.gather(*(source.publish(n) for n in range(100)))
        assert stream._life is not None
        inbox = stream._life._inbox
        async with asyncio.timeout(30):
            while not inbox.is_full:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert len(inbox) == 8
        assert [message.data for message in await take(stream, 100)] == list(range(100))


async def test_a_mistake_that_nobody_waits_for_is_a_message(url: Url, client_token: str) -> None:
    async with connect(url("broadcast"), token=client_token) as stream:
        assert stream._life is not None
        assert stream._life._link is not None
        await stream._life._link.send("nonsense")
        [error] = await take(stream, 1)
        assert isinstance(error, ServerError)
        assert error.code == "invalid_json"


async def test_the_id_of_an_unknown_outcome_is_told() -> None:
    error = UnknownOutcome("an-id", "the connection broke")
    assert error.id == "an-id"
    assert "may or may not" in str(error)


async def test_a_stream_that_is_not_open_says_so() -> None:
    stream = connect("ws://127.0.0.1:1/ws/broadcast/a/")
    with pytest.raises(RuntimeError, match="async with"):
        await stream.publish(1)
    with pytest.raises(ValueError, match="ws://"):
        connect("http://127.0.0.1/")
    with pytest.raises(ValueError, match="subscribe"):
        connect("ws://127.0.0.1/", subscribe=False, history=1)
