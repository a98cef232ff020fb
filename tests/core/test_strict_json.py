"""Strict JSON: what is taken means the same to every reader, all else is refused."""

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.core.errors import InvalidJSON
from realtime.core.strict_json import MAX_DEPTH, decode, decode_object

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=20,
)


@given(values, st.booleans(), st.booleans())
def test_what_json_writes_of_allowed_values_comes_back(
    value: Any, ascii: bool, as_bytes: bool
) -> None:
    text = json.dumps(value, ensure_ascii=ascii)
    assert decode(text.encode() if as_bytes else text) == value


@given(values)
def test_what_is_accepted_can_be_encoded_again(value: Any) -> None:
    assert msgspec.json.decode(msgspec.json.encode(decode(json.dumps(value)))) == value


@given(
    st.binary(max_size=40) | st.text(alphabet='{}[]",:0123456789.eE-+ntruefals\\ud8 ', max_size=40)
)
def test_anything_gives_a_value_that_json_can_write_or_invalid_json(text: str | bytes) -> None:
    try:
        value = decode(text)
    except InvalidJSON:
        return
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": NaN}', "NaN"),
        ('{"a": Infinity}', "Infinity"),
        ('{"a": -Infinity}', "-Infinity"),
        ('{"a": 1e400}', "overflows"),
        ('{"a": -1e400}', "overflows"),
        ('{"a": ' + "9" * 400 + ".0}", "overflows"),
        ('{"a": 1, "a": 1}', "'a' stands twice"),
        ('{"x": [{"k": 1, "b": 2, "k": 3}]}', "'k' stands twice"),
        ('{"\\u0061": 1, "a": 2}', "'a' stands twice"),
        ('{"a": 9223372036854775809}', "2^63"),
        ('{"a": -9223372036854775809}', "2^63"),
        ('{"a": ' + "1" * 5000 + "}", "2^63"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "deeper than 32"),
        ('{"a": "\\ud800"}', "surrogates"),
        ('{"\\udfff": 1}', "surrogates"),
        ('{"a": "\ud800"}', "surrogates"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        ("", "not JSON"),
        ("{", "not JSON"),
        ("{} {}", "not JSON"),
        ("{'a': 1}", "not JSON"),
        ('{"a": 01}', "not JSON"),
        ('{"a": 1,}', "not JSON"),
        ('{"a": "line\nbreak"}', "line 1, column 12"),
        ('{"a": .5}', "not JSON"),
        ('{"a": +1}', "not JSON"),
        ('{"a": 0x10}', "not JSON"),
        ('{"a": "\\x"}', "not JSON"),
        ('{"a": /* no */ 1}', "not JSON"),
    ],
)
def test_what_other_readers_would_take_differently_is_refused(text: str | bytes, says: str) -> None:
    with pytest.raises(InvalidJSON, match=says.replace("^", r"\^")):
        decode_object(text)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{" + ",".join(f'"{n:x}":1' for n in range(225_000)) + ',"36ee7":2}', "'36ee7' stands"),
        ("[" + '{"a":1,"b":2},' * 140_000 + '{"a":1,"a":2}]', "'a' stands twice"),
        ('{"a":' * 420_000, "deeper than 32"),
        ("[" + ("[" * 900 + "]" * 900 + ",") * 1_160 + "1]", "deeper than 32"),
        ("[" + '{"\\u0061":"\\u0062"},' * 105_000 + '"\\ud800"]', "surrogates"),
        ("[" + "1e-999999999," * 160_000 + "1" * 21 + "]", "2^63"),
        ("[" + "\n" * 2_000_000 + "x", "not JSON"),
        ("9" * 2_000_000, "2^63"),
        ("9" * 2_000_000 + ".0", "overflows"),
    ],
    ids=lambda value: value[:20] if len(value) < 40 else "",
)
def test_two_megabytes_are_refused_in_time_that_grows_with_their_length_only(
    document: str, says: str
) -> None:
    began = time.process_time()
    with pytest.raises(InvalidJSON, match=says.replace("^", r"\^")):
        decode(document)
    assert time.process_time() - began < 5  # a second at most; minutes if it grew with the square


@pytest.mark.parametrize("text", ["[]", "1", "null", '"text"', "true"])
def test_a_message_is_an_object(text: str) -> None:
    decode(text)
    with pytest.raises(InvalidJSON, match="one JSON object"):
        decode_object(text)


@pytest.mark.parametrize("limit", [2**63, -(2**63)])
def test_integers_up_to_two_to_the_63_are_taken(limit: int) -> None:
    assert decode(str(limit)) == limit
    with pytest.raises(InvalidJSON):
        decode(str(limit + (1 if limit > 0 else -1)))


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_nesting_of_exactly_the_limit_is_taken_and_one_more_refused(
    opening: str, closing: str
) -> None:
    levels = MAX_DEPTH // len([mark for mark in opening if mark in "[{"])
    inner = "1"
    decode(opening * levels + inner + closing * levels)
    with pytest.raises(InvalidJSON, match="deeper than 32"):
        decode(opening * levels + "[]" + closing * levels)


def test_brackets_in_strings_do_not_count_as_nesting() -> None:
    assert decode_object(json.dumps({"a": "[{" * 500})) == {"a": "[{" * 500}
    assert decode(json.dumps("[" * 500)) == "[" * 500


def test_many_shallow_containers_are_no_depth() -> None:
    assert decode(json.dumps([[1], {}] * 500)) == [[1], {}] * 500


def test_a_pair_of_escaped_surrogates_is_one_character() -> None:
    assert decode(r'"\ud83c\udf89"') == "🎉"
