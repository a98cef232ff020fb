"""Numbers and times as people read them."""

from datetime import timedelta

import pytest

from realtime.admin.figures import (
    format_close_code,
    format_duration,
    format_size,
    show_count,
    show_rate,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (300 * 1024, "300 KiB"),
        (1023 * 1024, "1.0 MiB"),
        (5 * 2**40, "5.0 TiB"),
        (2**63 - 1, "8.0 EiB"),
    ],
)
def test_a_size_has_few_digits_and_a_unit(count: int, text: str) -> None:
    assert format_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (7200, "2 h"),
        (90_000, "1 d"),
        (86_400 * 400, "400 d"),
    ],
)
def test_a_duration_is_in_one_unit(seconds: float, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(0.25, "0.25"), (3, "3"), (47.3, "47"), (1234.5, "1,234")]
)
def test_a_rate_is_as_exact_as_it_is_useful(rate: float, text: str) -> None:
    assert show_rate(rate) == text


def test_what_is_nothing_or_not_known_is_quiet() -> None:
    assert "quiet" in show_rate(0)
    assert "not known" in show_rate(None)
    assert "quiet" in show_count(0)
    assert show_count(12_345) == "12,345"


def test_a_close_code_has_its_name_unless_it_is_a_clients_own() -> None:
    assert format_close_code(4000) == "4000 slow consumer"
    assert format_close_code(4999) == "4999"
