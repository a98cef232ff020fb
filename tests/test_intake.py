"""What is published is checked, processed and stored in one form."""

import asyncio
import logging
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from asgiref.sync import sync_to_async

from realtime.conf import Kind, Namespace
from realtime.core.entries import NPY, OCTET_STREAM, SAMPLES
from realtime.core.errors import (
    CodedError,
    ErrorCode,
    InvalidArray,
    InvalidMessage,
    MessageTooBig,
    NotSupported,
    UnknownTopic,
)
from realtime.core.samples import describe_samples
from realtime.core.topics import parse_topic
from realtime.intake import check_format, find_namespace, take_anything, take_bytes, take_data
from tests.clients import Client, open_client, save_array
from tests.servers import Project, Server, start_server

BROADCAST = Namespace(kind=Kind.BROADCAST)
STATS = Namespace(kind=Kind.STATS)
ARRAYS = Namespace(kind=Kind.BINARY)
BLOBS = find_namespace(parse_topic("blobs:x"))
TOPIC = parse_topic("some:topic")


# Without a processor


def test_a_namespace_is_found_or_the_error_says_which_there_are() -> None:
    assert find_namespace(parse_topic("stats:x")).kind is Kind.STATS
    with pytest.raises(UnknownTopic) as caught:
        find_namespace(parse_topic("other:x"))
    assert "there are arrays, blobs, broadcast" in caught.value.detail


@pytest.mark.parametrize("namespace", [STATS, ARRAYS])
def test_topics_of_arrays_take_no_other_format(namespace: Namespace) -> None:
    assert check_format(namespace, None) == check_format(namespace, "npy") == NPY
    with pytest.raises(InvalidMessage):
        check_format(namespace, "image/png")


def test_a_topic_of_any_bytes_takes_media_types() -> None:
    assert check_format(BLOBS, None) == OCTET_STREAM
    assert check_format(BLOBS, "image/svg+xml") == "image/svg+xml"
    for format in ("image", "IMAGE/PNG", "image/png;q=1", "image/png\n", "a/" + "b" * 64):
        with pytest.raises(InvalidMessage):
            check_format(BLOBS, format)


async def test_data_has_to_fit_the_kind() -> None:
    with pytest.raises(NotSupported):
        await take_data(TOPIC, ARRAYS, {"value": 1}, None)
    with pytest.raises(NotSupported):
        await take_bytes(TOPIC, BROADCAST, b"bytes", None)
    with pytest.raises(InvalidArray):
        await take_anything(TOPIC, ARRAYS, [1, 2], None)
    with pytest.raises(InvalidMessage):
        await take_anything(TOPIC, BROADCAST, {"an": object()}, None)


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (3, [3.0]),
        (np.float32(1.5), [1.5]),
        (float("nan"), [None]),
        ([1, np.nan, np.int8(2)], [1.0, None, 2.0]),
        ((1, 2), [1.0, 2.0]),
        (np.array([1, 2], np.uint8), [1.0, 2.0]),
        ({"value": 4}, [4.0]),
        (save_array(np.zeros(1)), [0.0]),
    ],
)
async def test_python_code_publishes_numbers_in_any_usual_form(data: Any, values: Any) -> None:
    entry = await take_anything(TOPIC, STATS, data, None)
    assert (entry.format, entry.user) == (SAMPLES, None)
    assert describe_samples(entry.data)["values"] == values


@pytest.mark.parametrize("data", [True, "3", float("inf"), [], [True], np.zeros((2, 2)), None])
async def test_python_code_gets_an_error_for_other_samples(data: Any) -> None:
    with pytest.raises(CodedError) as caught:
        await take_anything(TOPIC, STATS, data, None)
    assert caught.value.code in (ErrorCode.INVALID_MESSAGE, ErrorCode.INVALID_ARRAY)


async def test_python_code_publishes_an_array_of_any_order() -> None:
    array = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
    entry = await take_anything(TOPIC, ARRAYS, array, None)
    assert entry.data == save_array(np.ascontiguousarray(array, "<f4"))


async def test_a_publication_over_the_limit_is_too_big(settings: Any) -> None:
    settings.REALTIME = {**settings.REALTIME, "MAX_BINARY_BYTES": 100}
    assert len((await take_bytes(TOPIC, BLOBS, bytes(100), None)).data) == 100
    with pytest.raises(MessageTooBig):
        await take_bytes(TOPIC, BLOBS, bytes(101), None)
    with pytest.raises(MessageTooBig):
        await take_anything(TOPIC, BROADCAST, "x" * 99, None)


# With a processor


test_is_over = threading.Event()


def wait_for_the_end_of_the_test(data: Any, *, topic: str, user: Any) -> Any:
    test_is_over.wait(30)
    return data


async def add_one_later(data: Any, *, topic: str, user: Any) -> Any:
    await asyncio.sleep(0)
    return data + 1


def add_one_wrapped(data: Any, *, topic: str, user: Any) -> Any:
    """Awaited too, which it does not look like from outside: so a plain decorator makes it."""
    return add_one_later(data, topic=topic, user=user)


def build_processed(name: str) -> Namespace:
    return Namespace(kind=Kind.BROADCAST, processor=f"tests.test_intake.{name}")


async def test_a_slow_processor_keeps_nobody_waiting_who_needs_a_thread() -> None:
    """Leases are renewed, and probes answered, in the loop's own threads: at most 32."""
    test_is_over.clear()
    slow = build_processed("wait_for_the_end_of_the_test")
    publishing = [asyncio.create_task(take_data(TOPIC, slow, n, None)) for n in range(40)]
    await asyncio.sleep(0.02)
    try:
        async with asyncio.timeout(8):
            assert await sync_to_async(lambda: "renewed", thread_sensitive=False)() == "renewed"
    finally:
        test_is_over.set()
    assert [(await each).data for each in publishing] == [b"%d" % n for n in range(40)]


async def test_an_async_processor_behind_a_plain_decorator_is_awaited() -> None:
    for name in ("add_one_later", "add_one_wrapped"):
        assert (await take_data(TOPIC, build_processed(name), 1, None)).data == b"2"


# With a processor, over a socket


@pytest.fixture(scope="module")
def small_server(project: Project) -> Iterator[Server]:
    """A daphne with the processors of `tests.stats_settings`."""
    server = start_server(project.with_environment(DJANGO_SETTINGS_MODULE="tests.stats_settings"))
    yield server
    server.stop(kill=True)


@pytest.fixture
def name() -> str:
    """The name of a topic of this test's own."""
    return uuid.uuid4().hex


async def receive_error(client: Client) -> dict[str, Any]:
    message = await client.receive()
    assert message["type"] == "error", message
    return message


async def publish_badly(client: Client, data: Any, code: str) -> str:
    """Publish what is refused with that code; the session lives. Returns the detail."""
    if isinstance(data, bytes):
        await client.send({"type": "binary", "chunks": 1, "ref": 1})
        await client.send(data)
    else:
        await client.send({"type": "publish", "data": data, "ref": 1})
    error = await receive_error(client)
    assert (error["code"], error["ref"]) == (code, 1), error
    assert "secret" not in error["detail"]
    assert "Traceback" not in error["detail"]
    return error["detail"]


@pytest.mark.parametrize("namespace", ["notes", "tables"])
async def test_a_processor_changes_refuses_or_crashes(
    small_server: Server, token: str, name: str, namespace: str
) -> None:
    async with open_client(f"{small_server.ws}/ws/{namespace}/{name}/", token) as client:
        await client.receive_type("subscribed")
        assert await publish_badly(client, {"do": "refuse"}, "rejected") == "not on a Sunday"
        await publish_badly(client, {"do": "crash"}, "internal")
        await client.send({"a": 1})
        message = await client.receive()
        added = (
            {"topic": f"notes:{name}", "user": "anna"} if namespace == "notes" else {"email": ""}
        )
        assert (message["offset"], message["data"]) == (1, {"a": 1, **added})
    log = small_server.read_log()
    assert "a secret of the server" in log  # the traceback is where it belongs
    assert "Sunday" not in log


async def test_a_processor_changes_samples_before_they_are_checked(
    small_server: Server, token: str, name: str
) -> None:
    async with open_client(f"{small_server.ws}/ws/readings/{name}/", token) as client:
        await client.receive_type("subscribed")
        await client.send({"value": 21})
        assert (await client.receive())["value"] == 42.0
        await client.send(save_array(np.array([1, 2])))
        assert (await client.receive())["value"] == 4.0


async def test_a_processor_gets_arrays_and_may_return_another_one(
    small_server: Server, token: str, name: str
) -> None:
    async with open_client(f"{small_server.ws}/ws/images/{name}/", token) as client:
        await client.receive_type("subscribed")
        await client.send(save_array(np.arange(6).reshape(2, 3)))
        header, array = await client.receive_array()
        assert (header["dtype"], header["shape"]) == ("float32", [3, 2])
        np.testing.assert_array_equal(array, 2 * np.arange(6).reshape(2, 3).T)
        same = save_array(np.array([-6], np.int8))
        await client.send(same)
        header, array = await client.receive_array()
        assert (header["dtype"], array.tolist()) == ("int8", [-6])
        await publish_badly(client, save_array(np.array([-1])), "rejected")
        await publish_badly(client, save_array(np.array([-2])), "internal")


async def test_a_processor_gets_bytes_and_may_return_others(
    small_server: Server, token: str, name: str
) -> None:
    async with open_client(f"{small_server.ws}/ws/files/{name}/", token) as client:
        await client.receive_type("subscribed")
        await client.send({"type": "binary", "chunks": 1, "format": "image/png"})
        await client.send(b"\xff123")
        assert (await client.receive())["format"] == "image/png"
        assert await client.receive() == b"321\xff"


@pytest.mark.parametrize(
    ("namespace", "data"),
    [
        ("notes", {"do": "object"}),
        ("readings", {"do": "nothing"}),
        ("readings", {"do": "text"}),
        ("images", save_array(np.array([-3]))),
        ("images", save_array(np.array([-4]))),
        ("images", save_array(np.array([-5]))),
        ("files", b"object"),
        ("files", b"nothing"),
        ("files", b"number"),
        ("files", b"text"),
    ],
)
async def test_what_a_processor_must_not_return_is_the_fault_of_the_server(
    small_server: Server, token: str, name: str, namespace: str, data: Any
) -> None:
    async with open_client(f"{small_server.ws}/ws/{namespace}/{name}/", token) as client:
        await client.receive_type("subscribed")
        await publish_badly(client, data, "internal")
        await client.send({"type": "ping", "ref": 2})
        assert (await client.receive())["type"] == "pong"


async def test_a_failed_processor_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(data: Any, *, topic: str, user: Any) -> Any:
        raise ZeroDivisionError(topic)

    monkeypatch.setattr("realtime.intake._load_processor", lambda path: crash)
    namespace = Namespace(kind=Kind.BROADCAST, processor="some.path")
    with caplog.at_level(logging.ERROR, "realtime.intake"), pytest.raises(CodedError) as caught:
        await take_data(TOPIC, namespace, 1, None)
    assert caught.value.code is ErrorCode.INTERNAL
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caplog.records[0].exc_info
