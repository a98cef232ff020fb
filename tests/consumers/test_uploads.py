"""Uploads in chunks, their limits, and what is left of refused ones: section 5 of the protocol."""

import time
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from realtime.consumers.uploads import SMALL_CHUNK, Upload
from realtime.core.entries import Chunks
from realtime.core.errors import MessageTooBig
from realtime.core.messages import BinaryUpload
from tests.clients import Client, open_client, save_array
from tests.servers import Project, Server, start_server

FRAME = 4096
MOST = 16_384
CHUNK_TIMEOUT = 3.0  # seconds
UPLOAD_TIMEOUT = 6.0  # seconds; at the least rate a thousand bytes take one


@pytest.fixture(scope="module")
def small_server(project: Project) -> Iterator[Server]:
    """A daphne with small limits, a short patience and the namespaces of `stats_settings`."""
    server = start_server(
        project.with_environment(
            DJANGO_SETTINGS_MODULE="tests.stats_settings",
            REALTIME_MAX_FRAME_BYTES=str(FRAME),
            REALTIME_MAX_BINARY_BYTES=str(MOST),
            REALTIME_MAX_TEXT_BYTES=str(FRAME),
            REALTIME_CHUNK_TIMEOUT=str(CHUNK_TIMEOUT),
            REALTIME_UPLOAD_TIMEOUT=str(UPLOAD_TIMEOUT),
            REALTIME_LEAST_BYTES_PER_SECOND="1000",
            REALTIME_INPUT_BYTES_PER_USER="1",  # twice the longest message, that is
        )
    )
    yield server
    server.stop()


@pytest.fixture
def name() -> str:
    """The name of a topic of this test's own."""
    return uuid.uuid4().hex


@asynccontextmanager
async def open_topic(
    server: Server, token: str, name: str, namespace: str = "blobs"
) -> AsyncIterator[Client]:
    """A session, past `hello` and `subscribed`."""
    async with open_client(f"{server.ws}/ws/{namespace}/{name}/", token) as client:
        assert (await client.receive())["type"] == "hello"
        assert (await client.receive())["type"] == "subscribed"
        yield client


async def receive_error(client: Client) -> tuple[str, Any]:
    message = await client.receive()
    assert message["type"] == "error", message
    return message["code"], message["ref"]


async def receive_blob(client: Client) -> bytes:
    """The next message is a publication; its bytes."""
    header = await client.receive()
    assert header["type"] == "binary", header
    chunks = [await client.receive() for _ in range(header["chunks"])]
    assert [len(chunk) <= FRAME for chunk in chunks] == [True] * len(chunks)
    return b"".join(chunks)


async def check_understood(client: Client) -> None:
    """The next binary message is a publication of its own."""
    await client.send(b"next")
    assert await receive_blob(client) == b"next"


# The upload itself


def test_chunks_are_kept_in_order_and_a_single_one_as_it_is() -> None:
    upload = Upload(BinaryUpload(chunks=3), limit=10)
    for chunk in (b"one", b"", b"two"):
        assert not upload.is_complete
        upload.add(chunk)
    assert (upload.is_complete, bytes(upload.data)) == (True, b"onetwo")
    upload = Upload(BinaryUpload(chunks=1), limit=10)
    chunk = bytes(10)
    upload.add(chunk)
    assert upload.data is chunk


def test_only_short_chunks_are_put_together_and_long_ones_stay_as_they_are() -> None:
    long = bytes(range(256)) * (SMALL_CHUNK // 256)
    chunks = [b"", b"a", b"b", long, b"", b"c", long, long, b"d"]
    upload = Upload(BinaryUpload(chunks=len(chunks)), limit=1 << 20)
    for chunk in chunks:
        upload.add(chunk)
    data = upload.data
    assert isinstance(data, Chunks)
    assert bytes(data) == b"".join(chunks)
    assert [bytes(part) for part in data.parts] == [b"ab", long, b"c", long, long, b"d"]
    assert [data.parts[place] is long for place in (1, 3, 4)] == [True] * 3


@pytest.mark.parametrize("chunks", [1, 2, 50])
def test_chunks_that_are_all_empty_are_an_empty_publication(chunks: int) -> None:
    upload = Upload(BinaryUpload(chunks=chunks), limit=10)
    for _ in range(chunks):
        upload.add(b"")
    assert (upload.is_complete, len(upload.data), bytes(upload.data)) == (True, 0, b"")


@pytest.mark.parametrize("size", [0, 2, SMALL_CHUNK - 1])
def test_an_unfinished_upload_takes_little_more_memory_than_its_bytes(size: int) -> None:
    count = 20_000 if size < 100 else 200
    upload = Upload(BinaryUpload(chunks=1 << 40), limit=1 << 20)
    tracemalloc.start()
    try:
        for number in range(count):  # each one an object of its own, as it comes from a socket
            upload.add(number.to_bytes(size, "big") if size else b"")
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken < 1.2 * count * size + 2048


def test_a_sum_over_the_limit_is_told_once_and_the_rest_is_dropped() -> None:
    upload = Upload(BinaryUpload(chunks=4), limit=10)
    upload.add(bytes(10))
    with pytest.raises(MessageTooBig):
        upload.add(b"1")
    upload.add(bytes(100))
    assert (upload.is_refused, upload.is_complete) == (True, False)
    upload.add(b"")
    assert upload.is_complete


# Over a socket


async def test_hello_tells_the_limits(small_server: Server, token: str, name: str) -> None:
    async with open_client(f"{small_server.ws}/ws/blobs/{name}/", token) as client:
        limits = (await client.receive())["limits"]
        assert (limits["max_frame_bytes"], limits["max_binary_bytes"]) == (FRAME, MOST)


@pytest.mark.parametrize("size", [0, 1, FRAME, FRAME + 1, MOST])
async def test_a_publication_of_any_size_comes_in_frames_no_longer_than_the_limit(
    small_server: Server, token: str, name: str, size: int
) -> None:
    data = np.random.default_rng(size).bytes(size)
    cuts = [data[start : start + FRAME] for start in range(0, max(size, 1), FRAME)]
    async with open_topic(small_server, token, name) as client:
        await client.send({"type": "binary", "chunks": len(cuts)})
        for cut in cuts:
            await client.send(cut)
        assert await receive_blob(client) == data


async def test_text_messages_are_answered_between_chunks(
    small_server: Server, token: str, name: str
) -> None:
    async with open_topic(small_server, token, name) as client:
        await client.send({"type": "binary", "chunks": 2, "ref": "up"})
        await client.send(b"one ")
        await client.send({"type": "ping", "ref": 1})
        assert (await client.receive())["ref"] == 1
        await client.send("not json")
        assert await receive_error(client) == ("invalid_json", None)
        await client.send(b"two")
        message = await client.receive()
        if message["type"] == "ack":
            assert message["ref"] == "up"
            assert await receive_blob(client) == b"one two"
        else:
            assert await client.receive() == b"one two"
            assert (await client.receive())["ref"] == "up"


async def test_a_second_header_is_refused_and_the_first_goes_on(
    small_server: Server, token: str, name: str
) -> None:
    async with open_topic(small_server, token, name) as client:
        await client.send({"type": "binary", "chunks": 2})
        await client.send(b"one ")
        await client.send({"type": "binary", "chunks": 5, "ref": 2})
        assert await receive_error(client) == ("invalid_message", 2)
        await client.send(b"two")
        assert await receive_blob(client) == b"one two"
        await check_understood(client)


@pytest.mark.parametrize(
    "fields",
    [
        {"format": "no media type"},
        {"format": 5},
        {"format": "x/" + "y" * 200},
        {"id": ""},
        {"id": "x" * 65},
        {"unknown": 1},
        {"ref": 1.5},
    ],
)
async def test_the_chunks_of_a_refused_header_are_dropped(
    small_server: Server, token: str, name: str, fields: dict[str, Any]
) -> None:
    async with open_topic(small_server, token, name) as client:
        await client.send({"type": "binary", "chunks": 3, "ref": "bad", **fields})
        assert await receive_error(client) == (
            "invalid_message",
            None if "ref" in fields else "bad",
        )
        for chunk in (b"1", b"2", b"3"):
            await client.send(chunk)
        await check_understood(client)


@pytest.mark.parametrize("chunks", [0, -1, 1.5, "2", None, True])
async def test_a_header_without_a_count_of_chunks_is_refused(
    small_server: Server, token: str, name: str, chunks: Any
) -> None:
    async with open_topic(small_server, token, name) as client:
        await client.send({"type": "binary", "chunks": chunks, "ref": 1})
        assert await receive_error(client) == ("invalid_message", 1)
        await check_understood(client)


async def test_without_the_right_to_publish_the_chunks_are_dropped_and_the_session_lives(
    small_server: Server, token: str, name: str
) -> None:
    async with open_topic(small_server, token, name, "locked") as client:
        await client.send({"type": "binary", "chunks": 2, "ref": 1})
        assert await receive_error(client) == ("permission_denied", 1)
        await client.send(b"1")
        await client.send(b"2")
        await client.send({"type": "ping", "ref": 2})
        assert (await client.receive())["ref"] == 2
        await client.send(save_array(np.zeros(1)))
        assert await receive_error(client) == ("permission_denied", None)


async def test_a_sum_over_the_limit_is_answered_once_and_the_rest_is_dropped(
    small_server: Server, token: str, name: str
) -> None:
    async with open_topic(small_server, token, name) as client:
        await client.send({"type": "binary", "chunks": 7, "ref": "big"})
        for _ in range(7):
            await client.send(bytes(FRAME))
        assert await receive_error(client) == ("message_too_big", "big")
        await check_understood(client)


async def test_a_sum_that_the_last_chunk_takes_over_the_limit_is_too_big(
    small_server: Server, token: str, name: str
) -> None:
    async with open_topic(small_server, token, name) as client:
        await client.send({"type": "binary", "chunks": 5, "ref": "big"})
        for size in (FRAME, FRAME, FRAME, FRAME, 1):
            await client.send(bytes(size))
        assert await receive_error(client) == ("message_too_big", "big")
        await check_understood(client)


async def test_a_chunk_that_does_not_come_in_time_ends_the_session(
    small_server: Server, token: str, name: str
) -> None:
    async with open_topic(small_server, token, name) as client:
        await client.send({"type": "binary", "chunks": 3, "ref": "late"})
        began = time.monotonic()
        await client.send(b"1")
        code, (error,) = await client.wait_closed()
        assert CHUNK_TIMEOUT - 0.01 < time.monotonic() - began < 2 * CHUNK_TIMEOUT + 10
        assert (code, error["code"], error["ref"]) == (4500, "invalid_array", "late")


async def test_the_time_counts_anew_for_each_chunk_and_ends_with_the_last(
    small_server: Server, token: str, name: str
) -> None:
    async with open_topic(small_server, token, name) as client:
        await client.send({"type": "binary", "chunks": 2})
        for chunk in (b"1", b"2"):
            await client.receive_nothing(0.55 * CHUNK_TIMEOUT)
            await client.send(chunk)
        assert await receive_blob(client) == b"12"
        await client.receive_nothing(CHUNK_TIMEOUT + 0.1)


@pytest.mark.parametrize("is_refused", [False, True])
async def test_chunks_that_come_in_time_but_never_end_are_given_up(
    small_server: Server, token: str, name: str, is_refused: bool
) -> None:
    header = {"type": "binary", "chunks": 1000, "ref": "slow"}
    async with open_topic(small_server, token, name) as client:
        await client.send({**header, "format": "no media type"} if is_refused else header)
        if is_refused:
            assert await receive_error(client) == ("invalid_message", "slow")
        began = time.monotonic()
        while True:
            await client.send(b"1")
            try:
                message = await client.receive(UPLOAD_TIMEOUT / 10)
            except TimeoutError:
                assert time.monotonic() - began < 2 * UPLOAD_TIMEOUT
            else:
                break
        assert time.monotonic() - began > UPLOAD_TIMEOUT - 0.1
        assert (message["code"], message["ref"]) == ("invalid_array", "slow")
        assert message["detail"] == "the chunks come too slowly: the upload was given up"
        assert (await client.wait_closed())[0] == 4500


async def test_an_upload_at_the_least_rate_gets_to_its_end_however_long_it_takes(
    small_server: Server, token: str, name: str
) -> None:
    async with open_topic(small_server, token, name) as client:
        await client.send({"type": "binary", "chunks": 16})
        began = time.monotonic()
        for _ in range(16):
            await client.receive_nothing(UPLOAD_TIMEOUT / 14)
            await client.send(bytes(1000))
        assert time.monotonic() - began > UPLOAD_TIMEOUT
        assert await receive_blob(client) == bytes(16_000)


async def test_unfinished_uploads_beyond_a_users_share_are_closed(
    small_server: Server, token: str, name: str
) -> None:
    async with (
        open_topic(small_server, token, name) as first,
        open_topic(small_server, token, name) as second,
        open_topic(small_server, token, name) as third,
    ):
        for client in (first, second, third):
            await client.send({"type": "binary", "chunks": 9, "ref": 1})
            for _ in range(MOST // FRAME - 1):
                await client.send(bytes(FRAME))
            await client.send({"type": "ping", "ref": 2})
            assert (await client.receive())["type"] == "pong"
        assert (await first.wait_closed())[0] == 4003
        for _ in range(9 - (MOST // FRAME - 1)):
            await second.send(b"")
        assert await receive_blob(second) == bytes(MOST - FRAME)


async def test_a_frame_over_the_limit_closes_with_1009(
    small_server: Server, token: str, name: str
) -> None:
    async with open_topic(small_server, token, name) as client:
        await client.send(bytes(FRAME + 1))
        assert await client.wait_closed() == (1009, [])
        # Daphne lets an application send no code below 3000.
        assert client.connection.close_code == 3009


async def test_a_chunk_over_the_limit_closes_with_1009(
    small_server: Server, token: str, name: str
) -> None:
    async with open_topic(small_server, token, name) as client:
        await client.send({"type": "binary", "chunks": 2})
        await client.send(bytes(FRAME + 1))
        assert await client.wait_closed() == (1009, [])


async def test_an_id_makes_an_upload_safe_to_repeat(
    small_server: Server, token: str, name: str
) -> None:
    async with open_client(f"{small_server.ws}/ws/blobs/{name}/?subscribe=0", token) as client:
        assert (await client.receive())["type"] == "hello"
        acks = []
        for data in (b"first", b"again"):
            await client.send({"type": "binary", "chunks": 1, "id": "once", "ref": 1})
            await client.send(data)
            acks.append(await client.receive())
        assert [(ack["offset"], ack["duplicate"]) for ack in acks] == [(1, False), (1, True)]


async def test_a_broadcast_topic_takes_no_binary_message(
    small_server: Server, token: str, name: str
) -> None:
    async with open_topic(small_server, token, name, "broadcast") as client:
        await client.send(b"bytes")
        assert await receive_error(client) == ("not_supported", None)
        await client.send({"type": "binary", "chunks": 1, "ref": 1})
        assert await receive_error(client) == ("not_supported", 1)


async def test_a_flood_slows_an_upload_down_and_never_takes_it_apart(
    project: Project, token: str, name: str, launch: Callable[..., Server]
) -> None:
    server = launch(project.with_environment(REALTIME_MESSAGES_PER_SECOND="10"))
    async with open_topic(server, token, name) as client:
        for ref in range(80):  # a bucket holds two seconds' worth, which is 20
            await client.send({"type": "ping", "ref": ref})
        await client.send({"type": "binary", "chunks": 3})
        for chunk in (b"1", b"2", b"3"):
            await client.send(chunk)
        replies = []
        while (message := await client.receive())["type"] != "binary":
            replies.append(message["type"])
        assert await client.receive() == b"123"
        assert set(replies) == {"pong", "error"}
