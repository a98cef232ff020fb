"""The golden vectors say what this server does: the clients' tests read the same files."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from realtime.consumers.binary import BinaryConsumer
from realtime.consumers.broadcast import BroadcastConsumer
from realtime.consumers.stats import StatsConsumer
from realtime.consumers.topic import TopicConsumer
from realtime.core import messages, strict_json
from realtime.core.close_codes import RESERVED_CODE_SHIFT, CloseCode
from realtime.core.errors import CodedError, ErrorCode, InvalidArray
from realtime.core.npy import read_array, write_array
from realtime.core.sample_ring import SampleRing
from realtime.core.topics import parse_topic
from realtime.core.windows import parse_window
from realtime.sessions import pick_retry_after
from realtime.snapshots import describe_statistics

VECTORS = Path(__file__).parent.parent / "vectors"
ARRAYS = json.loads((VECTORS / "npy" / "npy.json").read_text())
CONSUMERS: dict[str, type[TopicConsumer]] = {
    "broadcast": BroadcastConsumer,
    "stats": StatsConsumer,
    "binary": BinaryConsumer,
}
STRUCTURES = {
    structure.__struct_config__.tag: structure
    for structure in messages.ServerMessage.__subclasses__()
}


def load(name: str) -> Any:
    """One file of vectors."""
    return json.loads((VECTORS / name).read_text())


def named(name: str) -> list[Any]:
    """The cases of a file, each under its name."""
    return [pytest.param(case, id=case["name"]) for case in load(name)]


@pytest.mark.parametrize("case", named("server_messages.json"))
def test_the_server_writes_its_messages_as_in_the_vectors(case: Any) -> None:
    message = case["message"]
    if message["type"] == "stats":
        return  # built as a dictionary: see the test below
    text = json.dumps(message, ensure_ascii=False)
    structure = msgspec.json.decode(text, type=STRUCTURES[message["type"]])
    written = json.loads(messages.encode_message(structure))
    assert written == message
    assert list(written) == list(message)


def test_the_vectors_have_every_message_and_every_error_of_the_server() -> None:
    all = [case["message"] for case in load("server_messages.json")]
    assert {message["type"] for message in all} == {*STRUCTURES, "stats"}
    assert {m["code"] for m in all if m["type"] == "error"} == set(ErrorCode)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("stats", ()),
        (
            "stats, all fields, of a minute",
            ("sum", "var", "median", "p90", "p95", "p99", "first", "rate", "nan_count"),
        ),
    ],
)
def test_the_server_writes_statistics_as_in_the_vectors(name: str, fields: tuple[str, ...]) -> None:
    message = next(c["message"] for c in load("server_messages.json") if c["name"] == name)
    ring = SampleRing()
    ring.append(1, np.array([3.2, 1.0, np.nan, 3.0]), np.array([100.0, 101.0, 102.0, 104.0]))
    written = describe_statistics(
        ring,
        parse_topic(message["topic"]),
        offset=message["offset"],
        window=parse_window(message["window"]),
        fields=fields,
        time=0.0,
    )
    assert list(written) == list(message)
    assert {**written, "server_time": None} == {
        **{key: pytest.approx(value) for key, value in message.items()},
        "type": "stats",
        "topic": message["topic"],
        "window": message["window"],
        "server_time": None,
    }


@pytest.mark.parametrize("case", named("client_messages.json"))
def test_the_server_reads_messages_as_in_the_vectors(case: Any) -> None:
    parsed: Any = None
    code: str | None = None
    ref: messages.Ref = None
    try:
        fields = strict_json.decode_object(case["text"])
        try:
            parsed = msgspec.to_builtins(CONSUMERS[case["kind"]]()._parse(fields))
        except CodedError:
            ref = messages.find_ref(fields)
            raise
    except CodedError as error:
        code = error.code
    assert (parsed, code, ref) == (case["parsed"], case["error"], case["ref"])


def test_the_server_closes_with_the_codes_of_the_vectors_and_none_besides() -> None:
    actions: dict[int, set[str]] = {}
    for case in load("closes.json")["closes"]:
        if not case["began_by_client"] and case["token"] != "fixed":
            actions.setdefault(case["code"], set()).add(case["action"])
    for code in CloseCode:
        expected = {"final"} if code.final else {"reconnect"}
        if code is CloseCode.TOKEN_EXPIRED:  # final for a client that has no other token
            expected = {"final", "reconnect"}
        assert actions[code] == expected, code
        if code < 3000 and (shifted := code + RESERVED_CODE_SHIFT) in actions:
            assert actions[shifted] == expected, code


def test_the_server_gives_the_time_to_come_back_in_the_form_that_the_vectors_read() -> None:
    forms = {
        case["reason"]: case["delay"]
        for case in load("closes.json")["closes"]
        if case["code"] == 1012 and case["delay"] is not None
    }
    name, number = pick_retry_after().split("=")
    assert name == "retry_after"
    assert float(number) >= 0
    assert number.replace(".", "", 1).isascii()
    assert number.replace(".", "", 1).isdigit()
    assert all(float(reason.split("=")[1]) == delay for reason, delay in forms.items())


@pytest.mark.parametrize("case", ARRAYS["arrays"], ids=lambda case: case["file"])
def test_the_server_reads_and_writes_the_arrays_of_the_vectors(case: Any) -> None:
    data = (VECTORS / "npy" / case["file"]).read_bytes()
    array = read_array(data)
    assert (array.dtype.name, list(array.shape)) == (case["dtype"], case["shape"])
    expected = np.array([read_value(value) for value in case["values"]], dtype=case["dtype"])
    assert array.tobytes() == expected.tobytes()
    if not case.get("rewritten"):
        assert write_array(array) == data


@pytest.mark.parametrize("case", ARRAYS["refused"], ids=lambda case: case["why"])
def test_the_server_refuses_the_arrays_that_the_vectors_rule_out(case: Any) -> None:
    with pytest.raises(InvalidArray):
        read_array((VECTORS / "npy" / case["file"]).read_bytes())


def read_value(value: Any) -> Any:
    """A value of `npy.json`."""
    match value:
        case str() if value.lstrip("-").isdigit():
            return int(value)
        case str():
            return float(value)
        case [real, imaginary]:
            return complex(read_value(real), read_value(imaginary))
    return value
