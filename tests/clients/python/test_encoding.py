"""The JSON that leaves is strict, and samples are cut to fit."""

import json

import pytest

from realtime_client import Position
from realtime_client.encoding import cut_samples, encode_data
from realtime_client.urls import build_url


def test_data_is_compact_and_strict() -> None:
    assert encode_data({"a": [1, None, "é"]}) == '{"a":[1,null,"é"]}'
    for bad in (float("nan"), float("inf"), {1, 2}, object()):
        with pytest.raises((ValueError, TypeError)):
            encode_data(bad)


def test_samples_are_cut_so_that_each_text_fits_whatever_the_numbers() -> None:
    values = [-1.2345678901234567e-300] * 5000
    times = [1767225600.123456] * 5000
    for timestamps in (None, times):
        texts = list(cut_samples(values, timestamps, most_bytes=65536))
        assert all(len(text) < 65536 - 200 for text in texts)
        assert sum(len(json.loads(text)["values"]) for text in texts) == 5000
        assert len(texts) <= 4


def test_missing_samples_are_null_and_infinite_ones_refused() -> None:
    [text] = cut_samples([1, None, float("nan")], [1, 2, 3], most_bytes=1000)
    assert json.loads(text) == {"values": [1.0, None, None], "timestamps": [1.0, 2.0, 3.0]}
    with pytest.raises(ValueError, match="infinite"):
        list(cut_samples([float("-inf")], None, most_bytes=1000))
    with pytest.raises(ValueError, match="2 values, but 1 timestamps"):
        list(cut_samples([1, 2], [1], most_bytes=1000))
    assert list(cut_samples([], None, most_bytes=1000)) == []


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ({}, ""),
        ({"history": 3}, "?history=3"),
        ({"history": 3, "position": Position("e", 7)}, "?epoch=e&offset=7"),
        ({"subscribe": False}, "?subscribe=0"),
        (
            {"window": "60s", "fields": ("p95", "sum"), "interval": 0.5},
            "?window=60s&fields=p95%2Csum&interval=0.5",
        ),
        ({"interval": 1e-6, "window": 5}, "?window=5&interval=0.000001"),
        ({"interval": 10}, "?interval=10"),
    ],
)
def test_what_is_asked_stands_in_the_query(options: dict[str, object], query: str) -> None:
    assert build_url("wss://h/ws/a/b/", **options) == f"wss://h/ws/a/b/{query}"  # type: ignore[arg-type]


def test_a_query_of_the_url_itself_stays_but_for_what_a_position_replaces() -> None:
    url = build_url("ws://h/ws/a/b/?window=5&history=9", position=Position("e", 0))
    assert url == "ws://h/ws/a/b/?window=5&epoch=e&offset=0"
