"""Arrays and other bytes over real sockets, under stock daphne's limit of 1 MiB a message."""

import asyncio
import io
import pickle
import struct
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from realtime.consumers.binary import BinaryConsumer
from realtime.core.messages import ArrayRequest
from realtime.core.topics import parse_topic
from realtime.frames import frame_text
from realtime.outbox import Outbox
from tests.clients import TIMEOUT, Client, open_client, save_array, save_as_julia_does
from tests.servers import Project, Server, start_server

MIB = 1024 * 1024
DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
]


@pytest.fixture(scope="module")
def path_of_gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate") / "closed"


@pytest.fixture
def gate(path_of_gate: Path) -> Iterator[Path]:
    """Closed: the source `gated` makes nothing before this is removed, or the test is over."""
    path_of_gate.touch()
    yield path_of_gate
    path_of_gate.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def small_server(project: Project, path_of_gate: Path) -> Iterator[Server]:
    """A daphne with the sources of `gated_settings` and a small bound on requests."""
    server = start_server(
        project.with_environment(
            DJANGO_SETTINGS_MODULE="tests.consumers.gated_settings",
            TESTS_GATE=str(path_of_gate),
            REALTIME_MAX_REQUEST_BYTES=str(MIB),
            REALTIME_MAX_REQUESTS_BYTES=str(MIB + MIB // 2),
        )
    )
    yield server
    server.stop()


@pytest.fixture
def name() -> str:
    """The name of a topic of this test's own."""
    return uuid.uuid4().hex


@asynccontextmanager
async def open_binary(
    server: Server, token: str, name: str, *query: str, namespace: str = "arrays"
) -> AsyncIterator[Client]:
    """A session on a binary topic, past `hello` and `subscribed`."""
    url = f"{server.ws}/ws/{namespace}/{name}/?{'&'.join(query)}"
    async with open_client(url, token) as client:
        assert (await client.receive())["type"] == "hello"
        if "subscribe=0" not in query:
            assert (await client.receive())["type"] == "subscribed"
        yield client


async def receive_bytes(client: Client) -> tuple[dict[str, Any], bytes]:
    """The next `binary` header, which has to be the next message, and its chunks joined."""
    header = await client.receive()
    assert header["type"] == "binary", header
    chunks = [await client.receive() for _ in range(header["chunks"])]
    assert all(isinstance(chunk, bytes) and len(chunk) <= 16 * MIB for chunk in chunks)
    assert sum(map(len, chunks)) == header["bytes"]
    return header, b"".join(chunks)


async def receive_error(client: Client) -> dict[str, Any]:
    message = await client.receive()
    assert message["type"] == "error", message
    return message


async def check_alive(client: Client) -> None:
    """The next message answers a ping: nothing else came, and the session lives."""
    await client.send({"type": "ping", "ref": "alive"})
    message = await client.receive()
    assert (message["type"], message["ref"]) == ("pong", "alive")


# Publishing


async def test_an_array_of_eight_megabytes_goes_up_and_down_in_chunks(
    server: Server, token: str, name: str
) -> None:
    data = save_array(np.random.default_rng(1).random((1000, 1000)))
    assert len(data) > 7.6 * MIB
    cuts = [data[start : start + MIB] for start in range(0, len(data), MIB)]
    async with (
        open_binary(server, token, name) as one,
        open_binary(server, token, name) as two,
        open_binary(server, token, name) as three,
        open_binary(server, token, name, "subscribe=0") as writer,
    ):
        await writer.send({"type": "binary", "chunks": len(cuts), "ref": "up", "format": "npy"})
        for cut in cuts:
            await writer.send(cut)
        ack = await writer.receive()
        assert (ack["type"], ack["ref"], ack["offset"]) == ("ack", "up", 1)
        header, got = await receive_bytes(one)
        assert got == data
        assert header.pop("server_time")
        assert header == {
            "type": "binary",
            "topic": f"arrays:{name}",
            "offset": 1,
            "format": "npy",
            "dtype": "float64",
            "shape": [1000, 1000],
            "bytes": len(data),
            "chunks": -(-len(data) // server.frame_limit),
            "user": "anna",
            "ref": None,
        }
        for reader in (two, three):
            assert (await receive_bytes(reader))[1] == data
        # The way of a scientist.
        array = np.load(io.BytesIO(got), allow_pickle=False)
        assert array.shape == (1000, 1000)


@pytest.mark.parametrize("dtype", DTYPES)
async def test_an_array_of_every_dtype_comes_back_byte_for_byte(
    server: Server, token: str, name: str, dtype: str
) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)
    async with open_binary(server, token, name) as client:
        await client.send(save_array(array))
        header, data = await receive_bytes(client)
        assert data == save_array(array)
        assert (header["dtype"], header["shape"]) == (dtype, [3, 4])
        await check_alive(client)  # a lone message has no ack


async def test_arrays_of_up_to_eight_dimensions_and_empty_ones_are_taken(
    server: Server, token: str, name: str
) -> None:
    shapes = [(2,) * dimensions for dimensions in range(9)] + [(0,), (3, 0), (1, 0, 5)]
    async with open_binary(server, token, name) as client:
        for shape in shapes:
            data = save_array(np.full(shape, 7, np.int16))
            await client.send(data)
            header, got = await receive_bytes(client)
            assert (got, tuple(header["shape"])) == (data, shape)
        await client.send(save_array(np.zeros((1,) * 9)))
        assert (await receive_error(client))["code"] == "invalid_array"


def save_with(header: bytes | str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() if isinstance(header, str) else header
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + length + text + data


def save_version(array: np.ndarray, version: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    return file.getvalue()


def describe(descr: str, shape: str, order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


GOOD = save_array(np.arange(6.0).reshape(2, 3))
OBJECTS = io.BytesIO()
np.save(OBJECTS, np.array([{"a": 1}, None], object), allow_pickle=True)
MALFORMED = {
    "object": OBJECTS.getvalue(),
    "pickle": pickle.dumps(np.zeros(3)),
    "structured": save_array(np.zeros(2, [("a", "<f8"), ("b", "<i4")])),
    "string": save_array(np.array(["text"])),
    "bytes": save_array(np.array([b"text"])),
    "datetime": save_array(np.zeros(2, "datetime64[ns]")),
    "timedelta": save_array(np.zeros(2, "timedelta64[s]")),
    "void": save_array(np.zeros(2, "V8")),
    "longdouble": save_array(np.zeros(2, np.longdouble)),
    "fortran": save_array(np.asfortranarray(np.arange(6.0).reshape(2, 3))),
    "big-endian": save_array(np.arange(3, dtype=">f8")),
    "version 3": save_version(np.zeros(3), (3, 0)),
    "745 GiB": save_with(describe("'<f8'", "(100000000000,)")),
    "overflow": save_with(describe("'<f8'", f"({2**62}, {2**62})")),
    "negative": save_with(describe("'<f8'", "(-1,)")),
    "truncated": GOOD[:-1],
    "trailing": GOOD + b"\x00",
    "twice": GOOD + GOOD,
    "header cut": GOOD[:40],
    "magic cut": GOOD[:4],
    "empty": b"",
    "zip": b"PK\x03\x04" + bytes(60),
    "long header": save_with(describe("'<f8'", "(0,)") + " " * 5000),
    "code": save_with(describe("'<f8'", "(__import__('os').getpid(),)")),
    "deep": save_with("(" * 2000),
    "no shape": save_with("{'descr': '<f8', 'fortran_order': False}"),
}


@pytest.mark.parametrize("kind", MALFORMED)
async def test_a_malformed_array_is_refused_and_the_session_lives(
    server: Server, token: str, name: str, kind: str
) -> None:
    async with open_binary(server, token, name) as client:
        await client.send(MALFORMED[kind])
        error = await receive_error(client)
        assert (error["code"], error["ref"]) == ("invalid_array", None)
        await client.send({"type": "binary", "chunks": 1, "ref": 5})
        await client.send(MALFORMED[kind])
        error = await receive_error(client)
        assert (error["code"], error["ref"]) == ("invalid_array", 5)
        await client.send(GOOD)
        assert (await receive_bytes(client))[1] == GOOD


async def test_version_two_of_the_format_is_taken(server: Server, token: str, name: str) -> None:
    data = save_version(np.arange(3), (2, 0))
    async with open_binary(server, token, name) as client:
        await client.send(data)
        assert (await receive_bytes(client))[1] == data


@pytest.mark.parametrize("shape", [(), (4,), (1, 4), (0, 3)], ids=str)
async def test_fortran_order_is_sent_on_as_it_came_where_it_makes_no_difference(
    server: Server, token: str, name: str, shape: tuple[int, ...]
) -> None:
    data = save_as_julia_does(np.ones(shape))
    async with open_binary(server, token, name) as client:
        await client.send(data)
        header, got = await receive_bytes(client)
        assert (header["shape"], got) == ([*shape], data)


async def test_fortran_order_that_matters_is_refused_with_what_to_do_in_each_language(
    server: Server, token: str, name: str
) -> None:
    async with open_binary(server, token, name) as client:
        await client.send(save_as_julia_does(np.ones((2, 3))))
        detail = (await receive_error(client))["detail"]
        for word in ("numpy.ascontiguousarray", "Julia", "permutedims", "in Fortran reshape"):
            assert word in detail


@pytest.mark.parametrize(
    ("format", "expected", "data"),
    [
        (None, "application/octet-stream", b"\x00\x01"),
        (None, "application/octet-stream", b""),
        ("image/png", "image/png", b"\x89PNG"),
        ("application/vnd.apache.parquet+x", "application/vnd.apache.parquet+x", b"PAR1"),
        ("npy", "npy", GOOD),
        ("image/png", "image/png", b""),
    ],
)
async def test_a_blob_comes_back_with_its_media_type(
    server: Server, token: str, name: str, format: str | None, expected: str, data: bytes
) -> None:
    fields = {} if format is None else {"format": format}
    async with open_binary(server, token, name, namespace="blobs") as client:
        await client.send({"type": "binary", "chunks": 1, **fields})
        await client.send(data)
        header, got = await receive_bytes(client)
        assert (got, header["format"], header["bytes"]) == (data, expected, len(data))
        assert header["chunks"] == 1
        assert ("shape" in header, "dtype" in header) == (expected == "npy",) * 2


@pytest.mark.parametrize("data", [b"\x00\xff" * 10, b""])
async def test_a_lone_blob_is_an_octet_stream_without_an_ack(
    server: Server, token: str, name: str, data: bytes
) -> None:
    async with open_binary(server, token, name, namespace="blobs") as client:
        await client.send(data)
        header, got = await receive_bytes(client)
        assert (got, header["format"]) == (data, "application/octet-stream")
        await check_alive(client)


@pytest.mark.parametrize("format", ["png", "image/", "image/png; q=1", "a/b/c", "é/x", "", " "])
async def test_a_bad_media_type_is_refused_and_its_chunks_are_dropped(
    server: Server, token: str, name: str, format: str
) -> None:
    async with open_binary(server, token, name, namespace="blobs") as client:
        await client.send({"type": "binary", "chunks": 2, "format": format, "ref": 1})
        assert (await receive_error(client))["code"] == "invalid_message"
        await client.send(b"one")
        await client.send(b"two")
        await client.send(b"three")
        assert (await receive_bytes(client))[1] == b"three"


async def test_a_blob_that_claims_to_be_an_array_has_to_be_one(
    server: Server, token: str, name: str
) -> None:
    async with open_binary(server, token, name, namespace="blobs") as client:
        await client.send({"type": "binary", "chunks": 1, "format": "npy"})
        await client.send(b"junk")
        assert (await receive_error(client))["code"] == "invalid_array"


@pytest.mark.parametrize("namespace", ["arrays", "blobs"])
async def test_json_is_not_published_on_a_binary_topic(
    server: Server, token: str, name: str, namespace: str
) -> None:
    async with open_binary(server, token, name, namespace=namespace) as client:
        for message in ({"type": "publish", "data": [1, 2], "ref": 3}, {"value": 3}):
            await client.send(message)
            error = await receive_error(client)
            assert (error["code"], error["ref"]) == ("not_supported", message.get("ref"))


# Requests


@pytest.mark.parametrize(
    ("request_fields", "dtype"),
    [
        ({"type": "request", "shape": [50, 40], "ref": "r"}, "float64"),
        ({"type": "request", "shape": [50, 40], "dtype": "float32", "source": "random"}, "float32"),
        ({"shape": [50, 40]}, "float64"),
        ({"shape": [50, 40], "dtype": "float16", "ref": 9}, "float16"),
    ],
)
async def test_random_is_uniform_in_zero_to_one(
    server: Server, token: str, name: str, request_fields: dict[str, Any], dtype: str
) -> None:
    async with open_binary(server, token, name) as client:
        await client.send(request_fields)
        header, array = await client.receive_array()
        assert header["ref"] == request_fields.get("ref")
        assert (header["offset"], header["user"], header["format"]) == (None, None, "npy")
        assert (header["dtype"], array.dtype.name, array.shape) == (dtype, dtype, (50, 40))
        assert array.min() >= 0
        assert array.max() < 1
        assert abs(float(array.mean(dtype=np.float64)) - 0.5) < 0.05


async def test_zeros_are_made_in_every_dtype_and_an_empty_shape_is_a_scalar(
    server: Server, token: str, name: str
) -> None:
    async with open_binary(server, token, name) as client:
        for dtype in DTYPES:
            await client.send({"shape": [2, 0, 3], "source": "zeros", "dtype": dtype})
            header, array = await client.receive_array()
            assert (array.dtype.name, array.shape) == (dtype, (2, 0, 3))
        await client.send({"shape": [], "source": "zeros"})
        header, array = await client.receive_array()
        assert (header["shape"], array.shape, float(array)) == ([], (), 0.0)


async def test_a_requested_array_of_eight_megabytes_comes_in_chunks(
    server: Server, token: str, name: str
) -> None:
    async with (
        open_binary(server, token, name) as client,
        open_binary(server, token, name) as other,
    ):
        await client.send({"shape": [1000, 1000], "ref": 1})
        header, array = await client.receive_array()
        expected = -(-header["bytes"] // server.frame_limit)
        assert (header["chunks"], array.shape) == (expected, (1000, 1000))
        await check_alive(other)  # it went to the one who asked, and is no publication
        await other.send({"type": "history", "ref": 2})
        assert (await other.receive_type("history"))["top"] == 0


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"shape": [10], "dtype": "int32"}, "invalid_message"),
        ({"shape": [10], "dtype": "complex64"}, "invalid_message"),
        ({"shape": [10], "dtype": "object"}, "invalid_message"),
        ({"shape": [10], "dtype": ">f8"}, "invalid_message"),
        ({"shape": [10], "dtype": None}, "invalid_message"),
        ({"shape": [10], "source": "nobody"}, "not_found"),
        ({"shape": [-1]}, "invalid_message"),
        ({"shape": [2**63 - 1]}, "message_too_big"),
        ({"shape": [1.5]}, "invalid_message"),
        ({"shape": [True]}, "invalid_message"),
        ({"shape": 10}, "invalid_message"),
        ({"shape": None}, "invalid_message"),
        ({"shape": [1] * 9}, "invalid_message"),
        ({"shape": [10], "seed": 5}, "invalid_message"),
        ({"type": "request"}, "invalid_message"),
        ({"shape": [10**6, 10**6]}, "message_too_big"),
        ({"shape": [64 * MIB // 8]}, "message_too_big"),
        ({"shape": [2**62, 2**62], "dtype": "int8", "source": "zeros"}, "message_too_big"),
    ],
)
async def test_a_bad_request_is_answered_at_once_and_the_session_lives(
    server: Server, token: str, name: str, fields: dict[str, Any], code: str
) -> None:
    async with open_binary(server, token, name) as client:
        await client.send({**fields, "ref": "bad"})
        error = await receive_error(client)
        assert (error["code"], error["ref"]) == (code, "bad")
        await client.send({"shape": [2]})
        assert (await client.receive_array())[1].shape == (2,)


async def test_a_topic_of_any_bytes_makes_no_arrays(server: Server, token: str, name: str) -> None:
    async with open_binary(server, token, name, namespace="blobs") as client:
        await client.send({"type": "request", "shape": [2], "ref": 1})
        assert (await receive_error(client))["code"] == "not_supported"
        await client.send({"shape": [2], "ref": 1})
        assert (await receive_error(client))["code"] == "not_supported"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("refusing", "invalid_message"),
        ("broken", "internal"),
        ("odd", "internal"),
        ("listing", "internal"),
        ("nothing", "internal"),
    ],
)
async def test_a_source_that_fails_is_answered_without_a_traceback(
    small_server: Server, token: str, name: str, source: str, code: str
) -> None:
    logged = small_server.read_log().count("an array source failed")
    async with open_binary(small_server, token, name) as client:
        await client.send({"shape": [2, 2], "source": source, "ref": 1})
        error = await receive_error(client)
        assert (error["code"], error["ref"]) == (code, 1)
        assert "secret" not in error["detail"]
        await client.send({"shape": [2]})
        assert (await client.receive_array())[1].shape == (2,)
    failures = small_server.read_log().count("an array source failed") - logged
    assert failures == (code == "internal")


async def test_a_source_that_hangs_holds_up_no_other_nor_the_probes(
    small_server: Server, token: str, name: str, gate: Path
) -> None:
    """Whether it is ready the server asks in the loop's own threads: at most 32."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(open_binary(small_server, token, name, "subscribe=0"))
            for _ in range(40)
        ]
        for client in clients:
            await client.send({"shape": [1], "source": "gated"})
            await check_alive(client)
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"{small_server.http}/readyz", timeout=8)
        assert answer.status_code == 200
        async with open_binary(small_server, token, name) as other:
            await other.send({"shape": [3], "source": "zeros"})
            assert (await other.receive_array())[1].shape == (3,)
        gate.unlink()
        for client in clients:
            assert (await client.receive_array())[1].shape == (1,)


async def test_an_array_waits_until_what_is_before_it_is_written() -> None:
    """A session that reads all it gets is none of a slow client's."""
    sent: list[Any] = []
    slow: list[None] = []
    loop, made = asyncio.get_running_loop(), asyncio.Event()

    async def send(event: Any) -> None:
        await made.wait()
        await asyncio.sleep(0.05)
        sent.append(event)

    def make(shape: tuple[int, ...], dtype: "np.dtype[Any]") -> Any:
        loop.call_soon_threadsafe(made.set)
        return np.zeros(shape, dtype)

    consumer = BinaryConsumer()
    consumer.topic = parse_topic("arrays:x")
    consumer.outbox = Outbox(
        send,
        limit=1000,
        stall_timeout=None,
        on_slow=lambda: slow.append(None),
        on_abort=lambda: None,
    )
    consumer.runtime = SimpleNamespace(requested_bytes=Counter({"anna": 800}))
    for text in ("x" * 600, "y" * 600):
        consumer.outbox.put(frame_text(text))
    request = ArrayRequest(shape=[100])
    await consumer._answer(request, make, "anna", 800)
    assert not slow
    assert [event.get("text", "")[:1] for event in sent] == ["x", "y", "{", ""]
    assert np.load(io.BytesIO(sent[-1]["bytes"])).shape == (100,)
    assert not consumer.runtime.requested_bytes


BIG = {"shape": [MIB - 128], "dtype": "uint8", "source": "gated"}  # 1 MiB with its header


async def test_one_request_is_in_flight_for_each_session_and_their_sum_is_bounded(
    small_server: Server, token: str, name: str, gate: Path
) -> None:
    async with (
        open_binary(small_server, token, name) as one,
        open_binary(small_server, token, name) as other,
    ):
        await one.send({**BIG, "ref": 1})
        await one.send({"shape": [1], "ref": 2})
        error = await receive_error(one)
        assert (error["code"], error["ref"]) == ("rate_limited", 2)
        await other.send({**BIG, "ref": 3})  # two of them are over a bound of 1.5 MiB
        error = await receive_error(other)
        assert (error["code"], error["ref"]) == ("rate_limited", 3)
        await other.send({"shape": [1], "ref": 4})
        assert (await other.receive_array())[0]["ref"] == 4
        gate.unlink()
        header, array = await one.receive_array()
        assert (header["ref"], array.nbytes) == (1, MIB - 128)
        await one.send({"shape": [1], "ref": 5})
        assert (await one.receive_array())[0]["ref"] == 5
        await one.send({"shape": [MIB], "dtype": "uint8", "source": "zeros"})
        assert (await receive_error(one))["code"] == "message_too_big"


async def test_one_user_cannot_have_all_the_room_for_arrays(
    small_server: Server, token: str, name: str, gate: Path
) -> None:
    more = {"shape": [MIB // 4], "dtype": "uint8"}  # over three quarters of 1.5 MiB
    others = small_server.project.issue_token("ben")
    async with (
        open_binary(small_server, token, name) as one,
        open_binary(small_server, token, name) as two,
        open_binary(small_server, others, name) as other,
    ):
        await one.send(BIG)
        await check_alive(one)
        await two.send({**more, "source": "zeros"})
        error = await receive_error(two)
        assert (error["code"], "for you" in error["detail"]) == ("rate_limited", True)
        await other.send({**more, "source": "zeros"})
        assert (await other.receive_array())[1].nbytes == MIB // 4
        gate.unlink()
        await one.receive_array()
        await two.send({**more, "source": "zeros"})
        assert (await two.receive_array())[1].nbytes == MIB // 4


async def test_an_array_counts_until_it_is_made_though_its_session_is_gone(
    small_server: Server, token: str, name: str, gate: Path
) -> None:
    async with open_binary(small_server, token, name) as gone:
        await gone.send(BIG)
        await check_alive(gone)
    async with open_binary(small_server, token, name) as client:
        await client.send(BIG)
        assert (await receive_error(client))["code"] == "rate_limited"
        gate.unlink()
        for _ in range(90):  # more refusals than that would end the session
            await client.send(BIG)
            message = await client.receive()
            if message["type"] == "binary":
                break
            assert message["code"] == "rate_limited"
            await asyncio.sleep(0.1)
        assert message["bytes"] == MIB


async def test_more_than_a_hundred_refused_requests_in_a_minute_end_the_session(
    small_server: Server, token: str, name: str, gate: Path
) -> None:
    async with open_binary(small_server, token, name) as client:
        for _ in range(102):
            await client.send({"shape": [1], "source": "gated"})
        code, messages = await client.wait_closed()
        assert code == 4003
        assert [message["code"] for message in messages] == ["rate_limited"] * 101


# Subscribing


async def test_history_brings_the_last_arrays_first(server: Server, token: str, name: str) -> None:
    arrays = [save_array(np.full(3, number)) for number in range(6)]
    async with open_binary(server, token, name, "subscribe=0") as writer:
        for array in arrays[:4]:
            await writer.send(array)
        await writer.send({"type": "binary", "chunks": 1, "ref": 5})
        await writer.send(arrays[4])
        assert (await writer.receive_type("ack"))["offset"] == 5  # then all of them are there
        url = f"{server.ws}/ws/arrays/{name}/?history=3"
        async with open_client(url, token) as client:
            assert (await client.receive())["type"] == "hello"
            subscribed = await client.receive()
            assert (subscribed["offset"], subscribed["next"]) == (5, 3)
            assert subscribed["recovered"] is None
            await writer.send(arrays[5])
            for number in (2, 3, 4, 5):
                header, data = await receive_bytes(client)
                assert (header["offset"], data) == (number + 1, arrays[number])
        async with open_binary(server, token, name, "history=1000") as client:
            for number in range(6):
                assert (await receive_bytes(client))[1] == arrays[number]
        async with open_binary(server, token, name) as client:
            await check_alive(client)


async def test_recovery_brings_every_array_after_a_position(
    server: Server, token: str, name: str
) -> None:
    arrays = [save_array(np.full((200, 200), number, np.float64)) for number in range(5)]
    url = f"{server.ws}/ws/arrays/{name}/"
    async with open_client(url, token) as writer:
        epoch = (await writer.receive_type("subscribed"))["epoch"]
        for array in arrays:
            await writer.send(array)
            await writer.receive_array()
        for offset in (0, 2, 5):
            async with open_client(
                f"{url}?epoch={epoch}&offset={offset}&history=1", token
            ) as client:
                subscribed = await client.receive_type("subscribed")
                assert (subscribed["recovered"], subscribed["next"]) == (True, offset + 1)
                for number in range(offset, 5):
                    header, data = await receive_bytes(client)
                    assert (header["offset"], data) == (number + 1, arrays[number])
                await check_alive(client)


async def test_a_lost_position_is_a_gap_and_then_all_that_is_retained(
    server: Server, token: str, name: str
) -> None:
    url = f"{server.ws}/ws/blobs/{name}/"
    async with open_client(url, token) as writer:
        epoch = (await writer.receive_type("subscribed"))["epoch"]
        for number in range(40):  # 32 are retained
            await writer.send(bytes([number]))
        for _ in range(40):
            await receive_bytes(writer)
        async with open_client(f"{url}?epoch={epoch}&offset=4", token) as client:
            assert (await client.receive_type("subscribed"))["recovered"] is False
            gap = await client.receive()
            assert (gap["type"], gap["after"], gap["next"]) == ("gap", 4, 9)
            assert (gap["epoch"], gap["reason"]) == (epoch, "history_trimmed")
            for number in range(8, 40):
                header, data = await receive_bytes(client)
                assert (header["offset"], data) == (number + 1, bytes([number]))


async def test_an_interval_sends_the_newest_array_and_counts_the_others(
    server: Server, token: str, name: str
) -> None:
    interval = 0.3
    async with (
        open_binary(server, token, name, f"interval={interval}") as reader,
        open_binary(server, token, name, "subscribe=0") as writer,
    ):
        began = time.monotonic()
        await writer.send(save_array(np.array([1, 0])))
        header, _ = await reader.receive_array()
        assert (header["offset"], "skipped" in header) == (1, False)

        async def read() -> int:
            known, count = 1, 0
            while known < 30:
                header, array = await reader.receive_array()
                known += 1 + header.get("skipped", 0)
                count += 1
                assert (header["offset"], array[0]) == (known, known)
            return count

        reading = asyncio.create_task(read())
        for number in range(2, 31):
            await writer.send(save_array(np.array([number, 0])))
            await asyncio.sleep(0.02)
        count = await asyncio.wait_for(reading, TIMEOUT)
        # However late they arrived, there was an interval before each of them.
        assert count * (interval - 0.01) <= time.monotonic() - began
        await reader.receive_nothing(interval + 0.1)


async def test_an_interval_with_history_begins_with_the_newest(
    server: Server, token: str, name: str
) -> None:
    async with open_binary(server, token, name) as writer:
        for number in range(4):
            await writer.send(save_array(np.array([number])))
            await writer.receive_array()
        async with open_binary(server, token, name, "interval=0.3", "history=3") as reader:
            header, array = await reader.receive_array()
            assert (header["offset"], header["skipped"], array[0]) == (4, 2, 3)
            await reader.receive_nothing(0.4)


async def test_a_history_message_lists_headers(server: Server, token: str, name: str) -> None:
    async with open_binary(server, token, name) as client:
        for number in range(3):
            await client.send(save_array(np.zeros((number, 2), np.float32)))
            await client.receive_array()
        await client.send({"type": "history", "ref": "h", "after": 1, "limit": 1})
        reply = await client.receive()
        assert (reply["type"], reply["ref"], reply["top"]) == ("history", "h", 3)
        assert reply["complete"] is True
        (header,) = reply["publications"]
        assert (header["type"], header["offset"], header["shape"]) == ("binary", 2, [1, 2])
        assert (header["dtype"], header["bytes"], header["user"]) == ("float32", 136, "anna")
        await check_alive(client)


@pytest.mark.parametrize(
    "query", ["window=5", "fields=sum", "history=-1", "history=x", "interval=x"]
)
async def test_a_bad_parameter_closes_with_4500(
    server: Server, token: str, name: str, query: str
) -> None:
    async with open_client(f"{server.ws}/ws/arrays/{name}/?{query}", token) as client:
        code, (error,) = await client.wait_closed()
        assert (code, error["code"]) == (4500, "invalid_parameter")
        assert query.partition("=")[0] in error["detail"]
