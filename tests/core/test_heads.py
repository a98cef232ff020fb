"""The head of a message, without the rest of it."""

from typing import Any

import pytest

from realtime.core.heads import read_head


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ('{"type": "publish", "data": [[1], {"ref": 2}], "ref": 7}', {"type": "publish", "ref": 7}),
        ('{"shape": [2, 3], "ref": "r", "dtype": "int8"}', {"shape": [2, 3], "ref": "r"}),
        ('{"text": "hello"}', {"ref": None}),
        ('{"ref": [1]}', {}),
        ('{"type": 5, "ref": 1}', {}),
        ('{"ref": 1', {}),
        ('{"ref": 1, "data": ' + "[" * 100_000, {}),
        ('{"ref": 1, "data": "\ud800"}', {}),
        ("[]", {}),
    ],
)
def test_the_head_of_a_message_is_read_and_the_rest_is_passed_over(
    text: str, head: dict[str, Any]
) -> None:
    assert read_head(text) == head
