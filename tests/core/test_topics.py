"""Topics' names: ASCII, in full, no surprises."""

import pytest
from channels.layers import BaseChannelLayer
from hypothesis import given
from hypothesis import strategies as st

from realtime.core.errors import UnknownTopic
from realtime.core.topics import Topic, build_topic, is_namespace, parse_topic


@pytest.mark.parametrize(
    "text", ["broadcast:lobby", "a:b", "a1_:A-b_c.9", "a" * 31 + ":" + "B" * 64]
)
def test_a_good_name_is_read_and_written_the_same(text: str) -> None:
    assert str(parse_topic(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "broadcast",
        ":lobby",
        "broadcast:",
        "Broadcast:lobby",
        "1st:lobby",
        "_a:lobby",
        "a-b:lobby",
        "a" * 32 + ":lobby",
        "broadcast:" + "x" * 65,
        "broadcast:lob by",
        "broadcast:lobby\n",
        "broadcast\n:lobby",
        "broadcast:löbby",
        "broadcast:٣",
        "stats٣:x",
        "broadcast:a:b",
        "broadcast:a/b",
    ],
)
def test_a_bad_name_is_an_unknown_topic(text: str) -> None:
    with pytest.raises(UnknownTopic):
        parse_topic(text)


def test_both_parts_are_checked_by_themselves() -> None:
    assert build_topic("broadcast", "lobby") == Topic("broadcast", "lobby")
    with pytest.raises(UnknownTopic, match="namespace"):
        build_topic("broadcast:x", "lobby")
    with pytest.raises(UnknownTopic, match="name"):
        build_topic("broadcast", "x:lobby")


@given(st.from_regex(r"\A[a-z][a-z0-9_]{0,30}\Z"), st.from_regex(r"\A[A-Za-z0-9_.-]{1,64}\Z"))
def test_every_topic_makes_a_group_that_channels_takes(namespace: str, name: str) -> None:
    topic = build_topic(namespace, name)
    assert parse_topic(str(topic)) == topic
    assert BaseChannelLayer().require_valid_group_name(topic.group)


@given(st.text(max_size=6))
def test_a_namespace_is_lower_case_ascii(text: str) -> None:
    allowed = "abcdefghijklmnopqrstuvwxyz"
    expected = (
        0 < len(text) <= 31
        and text[0] in allowed
        and all(character in allowed + "0123456789_" for character in text)
    )
    assert is_namespace(text) == expected
