"""The client's core against the golden vectors, which the server's tests read too."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime_client import Backoff, Binary, Position, ProtocolFault
from realtime_client.arrays import read_array, write_array
from realtime_client.closes import TokenSource, judge_close, judge_handshake
from realtime_client.errors import ArrayError
from realtime_client.incoming import Incoming
from realtime_client.ledger import Pending
from realtime_client.messages import Limits
from realtime_client.parsing import parse_message
from realtime_client.positions import Tracker

VECTORS = Path(__file__).parents[2] / "vectors"
LIMITS = Limits(max_text_bytes=65536, max_binary_bytes=2**24, max_frame_bytes=2**20)
TYPES = {"ServerError": "error"}


def load(name: str) -> Any:
    """One file of vectors."""
    return json.loads((VECTORS / name).read_text())


def named(cases: list[Any], key: str = "name") -> list[Any]:
    """Cases, each under its name."""
    return [pytest.param(case, id=case[key]) for case in cases]


@pytest.mark.parametrize("case", named(load("server_messages.json")))
def test_every_message_of_the_server_is_read_with_all_its_fields(case: Any) -> None:
    fields = case["message"]
    message = parse_message(json.dumps(fields))
    assert message is not None
    assert TYPES.get(type(message).__name__, type(message).__name__.lower()) == fields["type"]
    assert describe(message, fields) == fields


def describe(value: Any, like: Any) -> Any:
    """A structure as the JSON that it came from, of which `like` gives the forms."""
    if isinstance(like, dict) and not isinstance(value, dict):
        own = {"bytes": "size"} if isinstance(value, Binary) else {}
        return {
            name: each if name == "type" else describe(getattr(value, own.get(name, name)), each)
            for name, each in like.items()
        }
    if isinstance(like, list) and isinstance(value, tuple):
        return [describe(one, other) for one, other in zip(value, like, strict=True)]
    if hasattr(value, "isoformat"):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return value


@pytest.mark.parametrize("case", named(load("positions.json")))
def test_the_position_moves_and_messages_surface_as_in_the_vectors(case: Any) -> None:
    start = case["start"]
    tracker = Tracker(Position(**start) if start else None)
    incoming = Incoming(tracker)
    incoming.begin()
    for step in case["steps"]:
        surfaces = []
        if "closed" in step:
            incoming.begin()
        else:
            raw = (
                base64.b64decode(step["binary"])
                if "binary" in step
                else json.dumps(step["message"])
            )
            if step.get("fault"):
                with pytest.raises(ProtocolFault):
                    incoming.take(raw)
            elif (message := incoming.take(raw)) is not None and incoming.is_surfaced(message):
                name = type(message).__name__
                surfaces.append(TYPES.get(name, name.lower()))
        position = tracker.position
        assert (position and {"epoch": position.epoch, "offset": position.offset}) == step[
            "position"
        ]
        assert surfaces == step["surfaces"]


CLOSES = load("closes.json")


@pytest.mark.parametrize("case", CLOSES["closes"], ids=lambda c: f"{c['code']} {c['reason']!r}")
def test_a_close_is_judged_as_in_the_vectors(case: Any) -> None:
    verdict = judge_close(
        case["code"],
        case["reason"],
        token=TokenSource(case["token"]),
        began_by_client=case["began_by_client"],
        expired_before=case.get("expired_before", False),
    )
    assert verdict.is_final == (case["action"] == "final")
    assert verdict.delay == case["delay"]
    assert verdict.needs_new_token == case["needs_new_token"]


@pytest.mark.parametrize(
    "case", CLOSES["handshakes"], ids=lambda c: f"{c['status']} {c['retry_after']!r}"
)
def test_a_refused_handshake_is_judged_as_in_the_vectors(case: Any) -> None:
    verdict = judge_handshake(case["status"], case["retry_after"])
    assert (verdict.is_final, verdict.delay) == (case["action"] == "final", case["delay"])


def test_no_server_can_make_a_client_wait_for_more_than_a_day() -> None:
    verdict = judge_close(1012, f"retry_after={'9' * 90}", token=TokenSource.NONE)
    assert verdict.delay == 24 * 3600


def test_delays_are_bounded_as_in_the_vectors() -> None:
    vectors = load("backoff.json")
    for case in vectors["bounds"]:
        backoff = Backoff(case["base"], case["factor"], case["cap"])
        for attempt, bound in enumerate(case["bounds"]):
            assert backoff.bound(attempt) == pytest.approx(bound)
        assert backoff.bound(case["far"]["attempt"]) == case["far"]["bound"]
    for case in vectors["delays"]:
        backoff = Backoff(case["base"], case["factor"], case["cap"])
        assert backoff.delay(case["attempt"], case["random"]) == pytest.approx(case["delay"])


ARRAYS = load("npy/npy.json")


@pytest.mark.parametrize("case", named(ARRAYS["arrays"], "file"))
def test_arrays_are_read_and_written_as_in_the_vectors(case: Any) -> None:
    data = (VECTORS / "npy" / case["file"]).read_bytes()
    array = read_array(data)
    assert (array.dtype.name, list(array.shape)) == (case["dtype"], case["shape"])
    expected = np.array([read_value(value) for value in case["values"]], dtype=case["dtype"])
    assert array.tobytes() == expected.tobytes()
    assert not array.flags.writeable
    if not case.get("rewritten"):
        assert write_array(array) == data


@pytest.mark.parametrize("case", named(ARRAYS["refused"], "why"))
def test_arrays_that_the_protocol_rules_out_are_refused(case: Any) -> None:
    with pytest.raises(ArrayError):
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


PUBLISHES = [
    case
    for case in load("client_messages.json")
    if case["parsed"] and case["parsed"]["type"] == "publish" and case["parsed"]["id"]
]


@pytest.mark.parametrize("case", named(PUBLISHES))
def test_a_publish_is_written_so_that_the_server_reads_it_as_in_the_vectors(case: Any) -> None:
    parsed = case["parsed"]
    pending = Pending(parsed["ref"], json.dumps(parsed["data"]), parsed["id"])
    [text] = pending.build_frames(LIMITS, with_id=True)
    assert json.loads(text) == parsed
