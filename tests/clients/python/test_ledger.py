"""Publications until they are confirmed: sent again under one id, or never again."""

import json
from typing import Any

import pytest

from realtime_client import MessageTooBig
from realtime_client.ledger import Ledger, Pending
from realtime_client.messages import Limits

LIMITS = Limits(max_text_bytes=200, max_binary_bytes=100, max_frame_bytes=40)


def build(**options: Any) -> Ledger:
    return Ledger(**{"max_count": 10, "max_bytes": 1000, "lifetime": 240.0, **options})


def add(ledger: Ledger, *refs: int) -> list[Pending]:
    pending = [Pending(ref, f'"{ref}"', f"id-{ref}") for ref in refs]
    for each in pending:
        ledger.add(each)
    return pending


def send_all(ledger: Ledger, now: float = 0.0, *, with_id: bool = True) -> list[int]:
    sent = []
    while (pending := ledger.next_unsent(now)) is not None:
        ledger.mark_sent(pending, now, with_id=with_id)
        sent.append(pending.ref)
    return sent


def test_each_is_sent_once_in_order() -> None:
    ledger = build()
    add(ledger, 1, 2, 3)
    assert send_all(ledger) == [1, 2, 3]
    assert send_all(ledger) == []


def test_what_is_not_confirmed_goes_again_first_and_in_order() -> None:
    ledger = build()
    add(ledger, 1, 2, 3)
    send_all(ledger)
    add(ledger, 4)
    ledger.settle(2)
    assert ledger.disconnect() == []
    assert send_all(ledger) == [1, 3, 4]


def test_one_whose_last_message_did_not_leave_goes_again_even_without_an_id() -> None:
    ledger = build()
    [first, second] = add(ledger, 1, 2)
    ledger.mark_sent(first, 0.0, with_id=False)
    assert ledger.next_unsent(0.0) is second  # its chunks are under way, all but the last
    assert ledger.disconnect() == [first]
    assert send_all(ledger) == [2]


def test_nothing_goes_again_where_the_topic_has_no_history() -> None:
    ledger = build()
    ledger.has_history = False
    [first, second] = add(ledger, 1, 2)
    send_all(ledger)
    assert ledger.find_silent(since=1.0) == []
    assert ledger.disconnect() == [first, second]


def test_one_that_was_sent_before_a_topic_got_its_history_goes_again() -> None:
    ledger = build()
    ledger.has_history = False
    [_, second] = add(ledger, 1, 2)
    send_all(ledger)
    ledger.settle(1)
    ledger.has_history = True
    assert ledger.find_silent(since=1.0) == [second]
    assert ledger.disconnect() == []
    assert send_all(ledger) == [2]


def test_one_that_was_given_up_is_not_sent() -> None:
    ledger = build()
    add(ledger, 1, 2)
    ledger.settle(1)
    assert send_all(ledger) == [2]
    assert ledger.settle(1) is None


def test_one_that_is_put_off_goes_when_it_is_due() -> None:
    ledger = build()
    [pending] = add(ledger, 1)
    send_all(ledger)
    ledger.put_off(pending, until=5.0)
    assert ledger.next_unsent(4.9) is None
    assert ledger.find_wait(4.0) == pytest.approx(1.0)
    assert ledger.next_unsent(5.0) is pending
    assert pending.attempts == 1


def test_what_was_put_off_survives_a_reconnect() -> None:
    ledger = build()
    [pending, _] = add(ledger, 1, 2)
    send_all(ledger)
    ledger.put_off(pending, until=5.0)
    ledger.disconnect()
    assert send_all(ledger, now=1.0) == [2]
    assert send_all(ledger, now=5.0) == [1]


def test_one_is_given_up_a_lifetime_after_it_was_first_sent_however_often_since() -> None:
    ledger = build(lifetime=240.0)
    add(ledger, 1, 2)
    send_all(ledger, now=10.0)
    ledger.disconnect()
    send_all(ledger, now=200.0)
    add(ledger, 3)  # never sent: it may wait
    assert ledger.expire(249.9) == []
    assert [pending.ref for pending in ledger.expire(250.0)] == [1, 2]
    assert [pending.ref for pending in ledger] == [3]


def test_room_is_bounded_by_count_and_by_bytes() -> None:
    ledger = build(max_count=2, max_bytes=20)
    assert ledger.has_room(10_000)  # one is always taken
    add(ledger, 1)
    assert ledger.has_room(17)
    assert not ledger.has_room(18)
    add(ledger, 2)
    assert not ledger.has_room(0)
    ledger.settle(1)
    assert ledger.has_room(17)


def test_a_ref_that_is_none_of_ours_settles_nothing() -> None:
    ledger = build()
    add(ledger, 1)
    for ref in (None, "1", 1.0, True):
        assert ledger.settle(ref) is None
        assert ledger.find(ref) is None
    assert len(ledger) == 1


def test_json_is_sent_with_its_id_where_the_user_is_known() -> None:
    pending = Pending(7, '{"a":1}', "the-id")
    [text] = pending.build_frames(LIMITS, with_id=True)
    assert json.loads(text) == {"type": "publish", "ref": 7, "id": "the-id", "data": {"a": 1}}
    [text] = pending.build_frames(LIMITS, with_id=False)
    assert json.loads(text) == {"type": "publish", "ref": 7, "data": {"a": 1}}
    pending.has_own_id = True
    [text] = pending.build_frames(LIMITS, with_id=False)
    assert json.loads(text)["id"] == "the-id"


def test_bytes_are_cut_into_chunks_of_the_longest_message() -> None:
    header, *chunks = Pending(7, bytes(range(90)), "i", format="image/png").build_frames(
        LIMITS, with_id=True
    )
    assert json.loads(header) == {
        "type": "binary",
        "ref": 7,
        "id": "i",
        "chunks": 3,
        "format": "image/png",
    }
    assert [len(chunk) for chunk in chunks] == [40, 40, 10]
    assert b"".join(chunk for chunk in chunks if isinstance(chunk, bytes)) == bytes(range(90))
    header, *chunks = Pending(7, b"", "i").build_frames(LIMITS, with_id=False)
    assert json.loads(header) == {"type": "binary", "ref": 7, "chunks": 1}
    assert chunks == [b""]


@pytest.mark.parametrize("body", ['"' + "x" * 160 + '"', '"' + "é" * 90 + '"', bytes(101)])
def test_what_is_over_a_limit_is_refused(body: str | bytes) -> None:
    with pytest.raises(MessageTooBig):
        Pending(1, body, "id").build_frames(LIMITS, with_id=True)
