"""Strict JSON: what is taken means the same to every reader, all else is refused."""

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.core import strict_json
from realtime.core.errors import InvalidJSON
from realtime.core.json_faults import decode_slowly
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


# The rules one by one, in plain Python, are the oracle of what is read at msgspec's speed.

spaces = st.sampled_from(["", "", "", " ", "\n", " \t\r\n"])
integers = st.one_of(
    st.integers(-(10**25), 10**25),
    *(st.integers(limit - 3, limit + 3) for limit in (2**63, -(2**63), 2**64, 10**19, 10**18)),
).map(str)
numbers = integers | st.from_regex(
    r"-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)
pieces = st.sampled_from(
    [
        *"abx:{}[],0",
        "0" * 19,
        "9" * 25,
        "é",
        "🎉",
        "\\\\",
        '\\"',
        "\\/",
        "\\n",
        "\\u003a",
        "\\u003A",
        "\\u0061",
        "\\u0022",
        "\\u005c",
        "\\ud83c\\udf89",
        "\\ud83c",
        "\\udf89",
        "\\\\u003a",
        "\x7f",
    ]
)
strings = st.lists(pieces, max_size=4).map(lambda parts: f'"{"".join(parts)}"')
keys = st.sampled_from(['"a"', '"a"', '"b"', '"\\u0061"', '":"', '"\\u003a"', '"{"', '""'])


@st.composite
def documents(draw: st.DrawFn) -> str:
    """JSON texts of which many break a rule, but hardly ever the grammar."""

    def draw_value(left: int) -> str:
        kind = draw(st.integers(0, 5)) if left else 0
        space = draw(spaces)
        if kind < 3:
            scalars = numbers | strings | st.sampled_from(["true", "false", "null", "NaN"])
            return space + draw(scalars) + space
        count = draw(st.integers(0, 3))
        if kind == 3:
            return f"[{','.join(draw_value(left - 1) for _ in range(count)) or space}]"
        if kind == 4:
            pairs = (f"{space}{draw(keys)}{space}:{draw_value(left - 1)}" for _ in range(count))
            return f"{{{','.join(pairs)}}}"
        deep = draw(st.sampled_from([1, 5, 15, 28, 29, 30, 31, 32, 33]))
        opening, closing = draw(st.sampled_from([("[", "]"), ('{"]":', "}"), ('["[",', "]")]))
        return opening * deep + draw_value(left - 1) + closing * deep

    return draw_value(4)


def judge(reader: Any, text: str) -> str:
    """What a reader makes of a text: the value to its last bit, or the error."""
    try:
        return repr(reader(text))
    except InvalidJSON as error:
        return f"refused: {error.detail}"


@settings(max_examples=600)
@given(documents())
def test_every_text_is_read_as_the_rules_say_one_by_one(text: str) -> None:
    assert judge(decode, text) == judge(decode_slowly, text)
    assert judge(decode, text.encode()) == judge(decode_slowly, text)


@settings(max_examples=300)
@given(documents(), st.data())
def test_a_text_with_one_character_changed_as_well(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(
        st.sampled_from(['"', "\\", "[", "}", ":", ",", "9", ".", "e", "-", "", "\x00"])
    )
    text = text[:place] + other + text[place + 1 :]
    assert judge(decode, text) == judge(decode_slowly, text)


@pytest.fixture
def no_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str) -> Any:
        raise AssertionError(f"read once more: {text[:100]}")

    monkeypatch.setattr(strict_json, "decode_slowly", refuse)


@pytest.mark.parametrize(
    "value",
    [
        {"a:b": "c:d:e", "f": ":"},
        ["[{" * 40, {"a": "]" * 100}, '\\"[[' * 20],
        [{"a": [1]}] * 50,
        {"a": "9" * 30, "b": [2**63, -(2**63), 10**18]},
        {"a": "\\", "b": "\\u003a", "c": '"'},
        [1.5e300, 123456789012345678.0, 1e-300, 0.000012345678901234567],
        json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH),
    ],
)
@pytest.mark.parametrize("ascii", [True, False])
def test_what_merely_looks_like_a_broken_rule_is_read_once(
    no_slow_way: None, value: Any, ascii: bool
) -> None:
    text = json.dumps(value, ensure_ascii=ascii)
    assert decode(text) == value
    assert decode(text.replace(":", "\\u003a") if '":' not in text else text) == value


def test_colons_that_are_written_as_escapes_are_counted_as_well(no_slow_way: None) -> None:
    text = r'{"a": "\u003a\u003A", "b": "\\u003a", "\\\u003a": 1}'
    assert decode(text) == {"a": "::", "b": r"\u003a", "\\:": 1}
