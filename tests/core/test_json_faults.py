"""What is wrong with a JSON text is said with its place or its name."""

import pytest

from realtime.core.errors import InvalidJSON
from realtime.core.json_faults import decode_slowly


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1,\n "b" 2}', "not JSON: Expecting ':' delimiter (line 2, column 6)"),
        ('{"k": {"a": 1, "a": 2}}', "the key 'a' stands twice in one object"),
        ('{"a": -Infinity}', "-Infinity is not JSON; send null for a value that is missing"),
        ('{"a": 1e400}', "a number overflows a double"),
        ('{"a": 9223372036854775809}', "an integer is outside ±2^63; send it as a string"),
        ('["\\udfff"]', "the text has to be valid UTF-8 without lone surrogates"),
        (b'["\xff"]', "the text has to be valid UTF-8 without lone surrogates"),
        ("[" * 33 + "]" * 33, "nesting goes deeper than 32"),
    ],
)
def test_the_first_broken_rule_is_named(text: str | bytes, says: str) -> None:
    with pytest.raises(InvalidJSON) as caught:
        decode_slowly(text)
    assert caught.value.detail == says


def test_a_text_that_breaks_no_rule_is_read() -> None:
    assert decode_slowly('{"a": [1, 2.5, null, "x"]}') == {"a": [1, 2.5, None, "x"]}
