"""Chance against the parser, and against the whole server over real sockets, for a minute each."""

import asyncio
import json
import random
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, seed, settings
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from tests.clients import open_client, save_array
from tests.server.raw import BINARY, CLOSE, CONT, PING, PONG, TEXT, build, build_request
from tests.server.test_parser import STREAMS, compare_with_library
from tests.servers import Server
from tests.soak.pace import last

SECONDS = 60.0
ROUND = 500  # examples of the parser with one seed
AT_ONCE = 16  # clients
PATIENCE = 5.0  # seconds for anything that must not be held up
# In seconds: what answers get before a client closes, and the end of its connection after that.
ANSWERED = 0.03
ENDED = 1.0

Chance = Callable[[object], random.Random]


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of what it has found
def test_the_parser_and_the_library_agree_on_whatever_comes(chance: Chance) -> None:
    rounds = 0
    for _ in last(SECONDS):
        run = given(**STREAMS)(compare_with_library)
        run = settings(max_examples=ROUND, deadline=None, database=None, print_blob=True)(run)
        seed(chance(rounds).getrandbits(64))(run)()
        rounds += 1
    print(f"{rounds * ROUND} streams meant the same to both")


# What clients send

ENDPOINTS = [
    "echo",
    *("open/fuzz", "newest/fuzz", "tables/fuzz", "broadcast/fuzz"),
    *("stats/fuzz", "arrays/fuzz", "blobs/fuzz", "nothing/fuzz", "open/fuzz/more"),
]
QUERIES = [
    *("subscribe=0", "history=5", "history=1000", "window=5", "window=1m", "interval=0.01"),
    *("fields=p99,sum", "offset=0&epoch=x", "offset=3", "history=-1", "window=0", "interval=nan"),
    *("fields=,", "token=x", "a=b", "%00=%ff", "history=5&history=6", "interval=1e400", "=&&="),
]
MESSAGES: list[dict[str, Any]] = [
    {"type": "publish", "data": {"n": 1}, "ref": 1},
    {"type": "publish", "data": [1, None, "ü", {"a": 1e-300}], "ref": "r", "id": "same"},
    {"n": 1},
    {"value": 3.5},
    {"value": None, "timestamp": 1767225600.5},
    {"values": [1, 2.5, None], "timestamps": [1, 2, 3]},
    {"values": [1e308, -1e308, 5e-324]},
    {"type": "ping", "ref": 7},
    {"type": "history", "ref": 2, "after": 0, "limit": 10},
    {"type": "history", "ref": 2, "after": 0, "epoch": "x", "limit": 1000},
    {"type": "presence", "ref": 3},
    {"type": "authenticate", "token": "a.b.c"},
    {"type": "refresh", "token": "a.b.c", "ref": None},
    {"type": "binary", "chunks": 1, "ref": 4},
    {"type": "binary", "chunks": 3, "format": "npy", "id": "x"},
    {"type": "binary", "chunks": 2, "format": "image/png"},
    {"type": "request", "shape": [3, 4], "dtype": "float64", "source": "random", "ref": 5},
    {"shape": [2, 0]},
]
ODD_VALUES: list[Any] = [
    *(None, True, -1, 0, 1.5, 1e308, 2**53 + 1, 2**63, 2**64, 10**30, "", "x" * 65, "x" * 5000),
    *("\ud800", "\0", [], {}, [[]], {"type": "ping"}, [2**40, 2**40], [-1], [1] * 9, float("nan")),
    *(float("inf"), float("-inf"), {"": {"": ""}}, "publish", "binary", "float64", [0.5], 65_537),
]
ARRAYS = [
    save_array(np.arange(12.0).reshape(3, 4)),
    save_array(np.zeros((0, 3), dtype="u1")),
    save_array(np.array([1, np.nan, np.inf])),
    save_array(np.array(5, dtype="c16")),
    save_array(np.array(["text"])),
    save_array(np.asfortranarray(np.ones((2, 3), dtype=">i4"))),
]
TEXTS = [
    *(b"", b"{", b"null", b"[]", b'{"a": 1, "a": 2}', b'{"value": 1e400}', b'{"value": NaN}'),
    *(b"[" * 50_000, b'{"a":' * 40 + b"1" + b"}" * 40, b'{"n": %s}' % (b"1" * 5000)),
    *(b'{"a": "\\ud800"}', b"\xff\xfe", b"x" * 70_000, b'{"shape": [1000000]}'),
]


def spoil(dice: random.Random, data: bytes) -> bytes:
    """The bytes with a few changed, cut out, or doubled."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        place = dice.randint(0, len(changed))
        match dice.randint(0, 3):
            case 0:
                changed[place : place + 1] = dice.randbytes(1)
            case 1:
                del changed[place : place + dice.randint(1, 20)]
            case 2:
                changed[place:place] = changed[max(0, place - dice.randint(1, 20)) : place]
            case _:
                changed[place : place + dice.randint(0, 3)] = dice.choice(
                    [b'"', b"{", b"}", b",", b":", b"\0", b"\xff", b"1e999", b"NUMPY", b"9" * 30]
                )
    return bytes(changed)


def make_text(dice: random.Random) -> bytes:
    """A message that is valid, nearly so, or not at all."""
    message = dict(dice.choice(MESSAGES))
    match dice.randint(0, 9):
        case 0 | 1:
            message[dice.choice([*message, "type", "ref", "extra"])] = dice.choice(ODD_VALUES)
        case 2:
            del message[dice.choice(list(message))]
        case 3:
            return spoil(dice, json.dumps(message).encode())
        case 4:
            return dice.choice(TEXTS)
    return json.dumps(message, ensure_ascii=dice.random() < 0.9).encode("utf-8", "surrogatepass")


def make_bytes(dice: random.Random) -> bytes:
    """An array, nearly one, or anything."""
    array = dice.choice(ARRAYS)
    match dice.randint(0, 3):
        case 0:
            return array
        case 1:
            return spoil(dice, array)
        case 2:
            return array[: dice.randint(0, len(array))]
        case _:
            return dice.randbytes(dice.choice([0, 1, 10, 200, 10_000]))


def make_frames(dice: random.Random) -> bytes:
    """One message, whole or in fragments with control frames between; rarely a broken frame."""
    if dice.random() < 0.01:
        broken = build(dice.randint(0, 15), dice.randbytes(dice.randint(0, 130)))
        return dice.choice([spoil(dice, broken), broken, dice.randbytes(20)])
    opcode, payload = dice.choice([(TEXT, make_text(dice)), (BINARY, make_bytes(dice))])
    if dice.random() < 0.7:
        return build(opcode, payload)
    ends = sorted(dice.randint(0, len(payload)) for _ in range(dice.randint(1, 4)))
    frames = []
    for number, (start, end) in enumerate(zip([0, *ends], [*ends, len(payload)], strict=True)):
        frames.append(
            build(CONT if number else opcode, payload[start:end], fin=number == len(ends))
        )
        if dice.random() < 0.2:
            frames.append(build(dice.choice([PING, PONG]), dice.randbytes(dice.randint(0, 125))))
    return b"".join(frames)


def make_handshake(dice: random.Random, token: str) -> bytes:
    """A request to upgrade, now and then a spoilt one."""
    path = f"/ws/{dice.choice(ENDPOINTS)}/"
    if dice.random() < 0.4:
        path += "?" + "&".join(dice.sample(QUERIES, dice.randint(1, 2)))
    headers = []
    if dice.random() < 0.5:
        headers.append(f"Authorization: Bearer {token}")
    if dice.random() < 0.2:
        headers.append(
            dice.choice(
                [
                    "Authorization: Bearer x.y.z",
                    "Sec-WebSocket-Protocol: realtime.v1",
                    f"Sec-WebSocket-Protocol: realtime.v1, realtime.bearer.{token}",
                    "Sec-WebSocket-Protocol: realtime.bearer.",
                    "Origin: http://example.com",
                    "Origin: null",
                    "Sec-WebSocket-Extensions: permessage-deflate",
                    "X-Forwarded-For: \xff, , ::1",
                ]
            )
        )
    request = build_request(path, *headers)
    if dice.random() < 0.05:
        lines = request.split(b"\r\n")
        # Not the second, the Host: Django logs a traceback for a foreign one, as it should.
        number = dice.choice([0, *range(2, len(lines) - 2)])
        lines[number] = spoil(dice, lines[number])
        request = b"\r\n".join(lines)
    return request


# Sessions


class Library(ClientProtocol):
    """What reads for the client; a close may come between fragments (RFC 6455, section 5.4)."""

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)


class Answers:
    """What the server said in one session; raises where it must not have."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self._protocol = Library(parse_uri("ws://localhost/"), state=OPEN, max_size=None)

    def take(self, data: bytes) -> None:
        """The next bytes behind the answer to the handshake."""
        self._protocol.receive_data(data)
        assert self._protocol.parser_exc is None, self._protocol.parser_exc
        for frame in self._protocol.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode is Opcode.TEXT:
                self._take_text(bytes(frame.data))
        if (close := self._protocol.close_rcvd) is not None:
            assert close.code != 1011, close
            self.kinds[f"closed with {int(close.code)}"] |= 1

    def _take_text(self, data: bytes) -> None:
        if not data.startswith(b'{"type":"'):
            return  # an echo, or a fragment
        kind = data[9:].split(b'"', 1)[0].decode()
        if kind == "error":
            kind = f"error {json.loads(data)['code']}"
            assert kind != "error internal", data
        self.kinds[kind] += 1


async def run_session(server: Server, dice: random.Random, token: str) -> Counter[str]:
    """One client from its handshake to the end of its connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    frames = [make_frames(dice) for _ in range(dice.randint(0, 25))]
    data = b"".join([make_handshake(dice, token), *frames])
    answers = Answers()

    async def read() -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            answers.kinds[f"HTTP {int(head.split()[1])}"] += 1
            assert not head.startswith(b"HTTP/1.1 500"), head
            if head.startswith(b"HTTP/1.1 101"):
                while piece := await reader.read(256 * 1024):
                    answers.take(piece)
        except (asyncio.IncompleteReadError, ConnectionError):
            answers.kinds["cut"] += 1

    reading = asyncio.create_task(read())
    try:
        while data and not reading.done():
            size = dice.choice([1, 2, 7, 100, 5000, 100_000, 100_000])
            writer.write(data[:size])
            data = data[size:]
            async with asyncio.timeout(PATIENCE):
                await writer.drain()
            if dice.random() < 0.3:
                await asyncio.sleep(0.002)
        await asyncio.wait({reading}, timeout=ANSWERED)
        if dice.random() < 0.9:
            writer.write(build(CLOSE, struct.pack("!H", 1000)))
            # After a broken frame it may be taken for the middle of another.
            await asyncio.wait({reading}, timeout=ENDED)
    except ConnectionError:
        await asyncio.wait({reading}, timeout=ENDED)  # the server may have said why
    finally:
        reading.cancel()
        writer.transport.abort()
    if reading.done():
        reading.result()
    return answers.kinds + Counter(sessions=1, frames=len(frames))


async def watch(server: Server) -> None:
    """Somebody else, who is served all the time."""
    async with open_client(f"{server.ws}/ws/echo/") as client:
        while True:
            await client.connection.send("still there")
            async with asyncio.timeout(PATIENCE):
                assert await client.connection.recv() == "still there"
            await asyncio.sleep(0.1)


async def test_whatever_clients_send_the_server_answers_and_lives(
    fresh: Server, chance: Chance
) -> None:
    token = fresh.project.issue_token()
    seen: Counter[str] = Counter()
    numbers = iter(range(10_000_000))

    async def run_sessions() -> None:
        for _ in last(SECONDS):
            number = next(numbers)
            try:
                seen.update(await run_session(fresh, chance(number), token))
            except (AssertionError, TimeoutError) as error:
                raise AssertionError(f"session {number}: {error!r}") from error

    watching = asyncio.create_task(watch(fresh))
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(run_sessions())
    assert not watching.done(), watching.exception()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    print(", ".join(f"{name} {count}" for name, count in seen.most_common()))
    # Chance has come everywhere: otherwise this has tested little.
    assert {"ack", "publication", "stats", "binary", "pong", "history", "gap"} <= seen.keys()
    assert {"error invalid_json", "error invalid_array", "closed with 1007"} <= seen.keys()
