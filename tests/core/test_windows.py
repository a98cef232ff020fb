"""What a client may write as a window, and as fields."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.core.errors import InvalidParameter
from realtime.core.windows import FIELDS, MAX_SAMPLES, Window, parse_fields, parse_window

quick = settings(derandomize=True, database=None)


@pytest.mark.parametrize(
    ("text", "samples", "seconds"),
    [
        ("1", 1, None),
        ("100", 100, None),
        ("100000", 100_000, None),
        ("60s", None, 60.0),
        ("0.5s", None, 0.5),
        ("5m", None, 300.0),
        ("1.5h", None, 5400.0),
        ("24h", None, 86_400.0),
        ("86400s", None, 86_400.0),
    ],
)
def test_a_window_is_a_number_of_samples_or_a_time(text, samples, seconds):
    assert parse_window(text) == Window(samples, seconds, text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "0", "00", "-1", "+1", "1.5", "100001", "9" * 5000, "1e3", "0x10", "1_000"),
        *("0s", "0.0s", "-1s", ".5s", "5.s", "1e3s", "1 s", " 1s", "1s ", "1s\n", "100\n", "5S"),
        *("25h", "24.1h", "86401s", "9" * 5000 + "s", "1d", "1ms", "5min", "s", "nans", "infs"),
        *("١٠", "１００", "５s", "²", "\udc80", "1m30s", "100,60s"),
    ],
)
def test_anything_else_is_no_window_and_the_answer_says_what_is(text):
    with pytest.raises(InvalidParameter, match=r"60s, 0\.5s, 5m or 1h") as caught:
        parse_window(text)
    assert caught.value.detail.isascii()
    assert len(caught.value.detail) < 400


@quick
@given(st.text(max_size=12) | st.text("0123456789.smh-+ e", max_size=8))
def test_any_text_is_a_window_within_its_bounds_or_refused(text):
    try:
        window = parse_window(text)
    except InvalidParameter:
        return
    assert window.text == text
    assert (window.samples is None) != (window.seconds is None)
    assert window.samples is None or 1 <= window.samples <= MAX_SAMPLES
    assert window.seconds is None or 0 < window.seconds <= 86_400


def test_fields_come_in_one_order_whatever_the_client_wrote():
    assert parse_fields("") == ()
    assert parse_fields("rate,sum,p99") == ("sum", "p99", "rate")
    assert parse_fields(",".join(reversed(FIELDS))) == FIELDS


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sum,p42", "'p42'"),
        ("mean", "'mean'"),
        ("sum,", "''"),
        ("sum, var", "' var'"),
        ("SUM", "'SUM'"),
        ("p99,sum,p99", "p99 twice"),
        ("\udc80", r"'\\udc80'"),
        ("x" * 5000, "'x{40}'"),
    ],
)
def test_an_unknown_or_repeated_field_is_named(text, named):
    with pytest.raises(InvalidParameter, match=named):
        parse_fields(text)
