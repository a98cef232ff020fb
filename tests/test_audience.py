"""Readings of a topic's statistics are bounded for each user, and in all."""

import pytest

from realtime.audience import MAX_PAYERS, MAX_USER_VIEWS, MAX_VIEWS, MAX_WINDOWS, Audience, Reading
from realtime.core.errors import InvalidParameter
from realtime.core.windows import parse_window


def read(window: int, *fields: str, user: str = "user 1") -> Reading:
    return Reading(parse_window(str(window)), fields, user)


def test_a_user_has_sixteen_windows_and_others_have_theirs() -> None:
    audience = Audience()
    for window in range(1, 17):
        audience.add(read(window))
    with pytest.raises(InvalidParameter, match=r"window: you have 16 .* one of 1, 10, 11, .* 9$"):
        audience.add(read(17))
    audience.add(read(17, user="user 2"))
    audience.add(read(16, "p99"))
    audience.remove(read(1))
    audience.add(read(17))
    assert (len(audience), audience.window_count) == (18, 16)


def test_a_topic_serves_64_windows_and_those_that_are_there_to_anybody() -> None:
    audience = Audience()
    for window in range(1, MAX_WINDOWS + 1):
        audience.add(read(window, user=f"user {window % 8}"))
    with pytest.raises(InvalidParameter, match="window: 64 different windows are in use"):
        audience.add(read(65, user="another"))
    audience.add(read(64, user="another"))


def test_sets_of_fields_are_bounded_for_a_user_and_for_the_topic() -> None:
    audience = Audience()

    for user in range(MAX_VIEWS // MAX_USER_VIEWS):
        for number in range(MAX_USER_VIEWS):
            audience.add(read(100, f"{user}-{number}", user=f"user {user}"))
    with pytest.raises(InvalidParameter, match="fields: you have 128 different sets"):
        audience.add(read(100, "sum", user="user 1"))
    with pytest.raises(InvalidParameter, match="fields: 512 different sets"):
        audience.add(read(100, "sum", user="another"))
    audience.add(read(100, "1-1", user="another"))
    assert audience.count_views(parse_window("100")) == MAX_VIEWS


def test_quantiles_of_a_window_are_those_that_somebody_wants() -> None:
    audience, window = Audience(), parse_window("5")
    audience.add(read(5, "sum", "median"))
    audience.add(read(5, "p99", user="user 2"))
    audience.add(read(6, "p90"))
    assert audience.find_quantiles(window) == {"median", "p99"}
    audience.remove(read(5, "p99", user="user 2"))
    assert audience.find_quantiles(window) == {"median"}
    assert audience.find_users(window) == ["user 1"]


def test_what_was_given_back_leaves_nothing() -> None:
    audience = Audience()
    readings = [read(w, f, user=u) for w in (1, 2) for f in ("sum", "p90") for u in "ab"] * 2
    for reading in readings:
        audience.add(reading)
    for reading in readings:
        audience.remove(reading)
    assert len(audience) == audience.window_count == 0
    assert parse_window("1") not in audience
    assert not any(vars(audience)[name] for name in ("_views", "_users", "_counts"))


def test_a_window_that_very_many_share_is_paid_by_none_of_them() -> None:
    audience, window = Audience(), parse_window("7")
    for number in range(MAX_PAYERS + 1):
        assert len(audience.find_users(window)) == number
        audience.add(read(7, user=f"user {number}"))
    assert audience.find_users(window) == []
